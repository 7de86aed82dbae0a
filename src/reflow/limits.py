"""Every bound of reflow by name: sizes in bytes, times in seconds, the rest are counts.

`App(limits=Limits(...))` changes them for one application, except those that say "of the process": values, ids and
words are handled before it is known for which application. The figures follow Convex's published limits where a
client could notice the difference.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one application."""

    # Values and documents
    document_bytes: int = 1 << 20
    """Size of one document's JSON."""
    array_items: int = 8192
    """Items of an array in a stored document. Of the process."""
    object_fields: int = 1024
    """Fields of an object. Of the process."""
    field_name_length: int = 1024
    """Characters of a field name. Of the process."""
    nesting: int = 64
    """Depth of a value. Of the process."""
    parsed_ids: int = 1 << 16
    """Document ids whose parts the process remembers. Of the process."""
    known_types: int = 4096
    """Classes whose way of encoding the process remembers; beyond it all are learnt anew. Of the process."""
    known_names: int = 1 << 12
    """Field names that the process remembers to be valid; beyond it all are learnt anew. Of the process."""
    arguments_bytes: int = 16 << 20
    """Size of a function's arguments as JSON."""
    result_bytes: int = 16 << 20
    """Size of a function's result as JSON."""

    # One query or mutation
    function_cpu_seconds: float = 2.0
    """Processor time of one query or mutation, where the platform can tell it."""
    function_wall_seconds: float = 15.0
    """Wall time of one query or mutation between two awaits."""
    documents_read: int = 32_000
    """Documents that one query or mutation may read."""
    bytes_read: int = 64 << 20
    """Bytes of documents that one query or mutation may read."""
    documents_written: int = 16_000
    """Documents that one mutation may write."""
    index_key_bytes: int = 16 << 10
    """Size of a document's key in a range index; the write log keeps keys in memory."""
    bytes_written: int = 64 << 20
    """Bytes of documents that one mutation may write."""
    ranges_read: int = 4096
    """Index ranges and single documents of a read set that are kept apart; beyond it they are merged per table."""
    call_depth: int = 8
    """Nesting of run_query and run_mutation."""
    page_items: int = 32_000
    """Largest `numItems` of a page."""
    page_split_items: int = 6144
    """Items of a page above which its client is asked to split it."""
    scan_page: int = 256
    """Rows fetched from the storage at once."""
    load_page: int = 1024
    """Vectors read from the storage at once at start, before other work gets a turn."""
    error_length: int = 16 << 10
    """Characters of a function's error message that its caller gets."""
    log_lines: int = 256
    """Log lines kept of one function run."""

    # Search
    nearest: int = 1000
    """Largest `limit` of a vector search."""
    searches_read: int = 1000
    """Searches of one query or mutation."""
    text_drift: float = 0.1
    """The part by which a corpus may grow or shrink, its texts become longer or shorter, and a term more or less
    common, before live text searches whose hits did not change follow with their scores."""
    hybrid_candidates: int = 50
    """Hits of each of the two searches behind a hybrid one, at least."""
    standing_hits: int = 1 << 20
    """Hits that live vector searches keep in all to be brought up to date without a scan; beyond it they keep only
    those that they show."""
    text_hits: int = 1024
    """Largest `limit` of a text search."""
    term_bytes: int = 32
    """Longest term of a text index, as UTF-8; longer ones can't be searched for. Of the process."""
    query_terms: int = 16
    """Terms of a text query; further ones are ignored. Of the process."""
    query_text_length: int = 8192
    """Characters of a text query that are looked at; what follows is ignored. Of the process."""
    cached_words: int = 1 << 16
    """Words whose terms are remembered by the process. Of the process."""
    vector_dims: int = 20_000
    """Largest dimension of a vector index. Of the process."""
    filter_operands: int = 10_000
    """Values of one `$in` or `$nin`. Of the process."""
    filter_conditions: int = 1024
    """Conditions on fields in one filter. Of the process."""
    filter_nesting: int = 32
    """Depth of `$and`, `$or` and `$not` in a filter. Of the process."""
    metadata_bytes: int = 40_960
    """Size of one record's metadata as JSON. Of the process."""
    sparse_values: int = 2048
    """Values of one sparse vector. Of the process."""
    scan_inline_rows: int = 20_000
    """Vectors that are scanned on the event loop, fewer where they are long or many hits are asked for; larger scans
    run in a thread."""
    vector_tail_bytes: int = 32 << 20
    """Vectors that were added last and are not in order yet, per index, at least; beyond it, and beyond half of those
    that are, a thread puts them in order."""
    approximate_rows: int = 200_000
    """Vectors of a namespace from which on searches that may be approximate are."""
    vector_file_bytes: int = 4 << 20
    """Vectors of an index up to which they are read from the database at start, and not from a file of their own."""
    vector_close_bytes: int = 512 << 20
    """Vectors of an index up to which their file is brought up to date at closing in any case."""

    vacuum_rows: int = 500
    """Vectors of a generation that one transaction removes."""
    generations: int = 16
    """Generations of one vector index: each of them gets what is written."""

    # Free-standing vector indexes
    vector_indexes: int = 1000
    """Free-standing vector indexes of one application."""
    namespaces_per_index: int = 100_000
    """Namespaces of one free-standing vector index."""
    record_id_length: int = 512
    """Characters of a record's id, and of a namespace's name. Of the process."""
    records_per_upsert: int = 1000
    """Records, or ids, of one request of a Pinecone client."""
    records_per_batch: int = 250
    """Records that one transaction changes, or removes, where an action's or the server's call concerns many."""
    records_per_query: int = 10_000
    """Largest `top_k` of a query."""
    records_per_page: int = 10_000
    """Largest `limit` of a page of records."""
    records_per_page_default: int = 100
    """`limit` of a page of records where none is given."""
    ids_per_page: int = 100
    """Largest `limit` of a page of ids or namespaces."""
    names_remembered: int = 10_000
    """Indexes and namespaces that are remembered by name, so that a call need not look them up."""
    records_per_turn: int = 250
    """Records that are read or written before the event loop gets a turn."""

    # Texts and embeddings
    cached_tokenizations: int = 512
    """Texts whose word pieces the local embedder remembers. Of the process."""
    embed_calls: int = 256
    """Calls of the local embedder that wait or run; beyond it callers are refused."""
    embed_job_pieces: int = 256
    """Word pieces that the local embedder takes from one call before it looks for a question to answer first."""
    split_block_chars: int = 64 << 10
    """Characters that the default splitter is given at once; longer texts are cut at blank lines first. Of the
    process."""

    # Sources
    source_bytes: int = 64 << 20
    """Size of a file or page that is read; larger ones are refused before anything looks into them."""
    text_chars: int = 8 << 20
    """Characters of a source's text."""
    source_pages: int = 10_000
    """Pages of a PDF."""
    source_headings: int = 10_000
    """Entries of a PDF's outline that are looked at."""
    source_unpacked_bytes: int = 64 << 20
    """Size of a Word document's parts when they are unpacked, pictures apart."""
    folder_files: int = 100_000
    """Files of a folder that is brought in or watched."""
    folder_quiet_seconds: float = 0.025
    """How long nothing must change in a watched folder before what changed is told."""
    folder_busy_seconds: float = 0.2
    """How long changes of a watched folder are gathered at most."""
    folder_gone_seconds: float = 0.3
    """How long a file must be gone or empty before that is told: many editors save a file in such steps."""
    folder_rescan_seconds: float = 30.0
    """How often a watched folder is looked through for changes that the system did not tell."""
    address_length: int = 4096
    """Characters of an address that is fetched. Of the process."""
    fetch_redirects: int = 5
    """Redirects that are followed from one address."""
    fetch_seconds: float = 60.0
    """How long fetching one source may take in all."""
    fetch_idle_seconds: float = 15.0
    """How long a server may send nothing."""
    reading_inline_bytes: int = 64 << 10
    """Size of a plain text up to which it is read on the event loop; all else is read by a process of its own."""
    reading_processes: int = 2
    """Processes that read sources. Of the process."""
    reading_seconds: float = 60.0
    """How long reading one source may take."""
    reading_memory_bytes: int = 1 << 30
    """Memory that reading one source may take, where the system can tell (Linux)."""
    reading_waiting: int = 1000
    """Sources that wait or are being read; beyond it callers are refused."""
    reading_idle_seconds: float = 60.0
    """How long a process that reads sources waits for the next one before it ends."""

    # Providers of models
    model_requests: int = 4
    """Requests to one address of a provider of models at the same time, where the embedder or chat states no other."""
    model_waiting: int = 10_000
    """Requests to one such address that wait for their turn; beyond it callers are refused."""
    model_attempts: int = 5
    """Tries of one request to a provider of models."""
    model_first_pause_seconds: float = 0.5
    """Pause after the first failed try; it doubles with each further one."""
    model_pause_seconds: float = 20.0
    """Pauses between the tries of one request together; a provider that asks for more is not waited for."""
    model_retry_after_seconds: float = 3600.0
    """Longest pause asked for by a provider that is believed."""
    model_connect_seconds: float = 10.0
    """How long it may take to reach a provider of models."""
    model_request_seconds: float = 120.0
    """How long a provider of models may take to answer one request, or to begin a streamed answer."""
    model_silent_seconds: float = 60.0
    """How long a streamed answer may pause."""
    model_stream_seconds: float = 900.0
    """How long a streamed answer may take."""
    model_reply_bytes: int = 64 << 20
    """Size of one answer of a provider of models, unpacked."""
    model_event_bytes: int = 1 << 20
    """Size of one event of a streamed answer."""
    model_connections: int = 20
    """Unused connections to providers of models that are kept for the next request."""
    local_batch_texts: int = 64
    """Texts that embedding in the background brings at once to an embedder that knows no requests, such as the local
    one: a second's work, so that what a person adds meanwhile has its turn soon."""
    model_batch_texts: int = 96
    """Texts that one request brings to an embedder that states no other number."""
    model_batch_tokens: int = 100_000
    """Tokens, roughly counted, that one request brings to an embedder that states no other number."""

    # Searches of a corpus
    search_input_length: int = 8192
    """Characters of a question."""
    search_filter_length: int = 64 << 10
    """Characters of a search's filter."""
    search_results: int = 100
    """Results of a stored search, and neighbours of a chunk."""
    search_neighbours: int = 10
    """Chunks that a search shows before a hit, and after it."""
    search_sources: int = 1000
    """Sources that one search can be restricted to."""
    search_candidates: int = 50
    """Hits that are weighed by the importance of their sources, or reranked, at least."""
    search_attempts: int = 5
    """Tries of embedding a stored search's question, or reranking its hits, before it has failed."""
    search_patience_seconds: float = 30.0
    """Longest pause that a provider may ask for before a stored search has failed: somebody is waiting."""
    searches_kept: int = 10_000
    """Stored searches that are not pinned, in all or (in a corpus with owners) of one owner; the one that was used
    longest ago goes."""
    choices_listed: int = 100
    """Categories that a corpus offers for filters."""

    # Sources of a corpus
    source_chunks: int = 4000
    """Chunks of one source: a new version takes the place of the one before in one transaction."""
    source_text_bytes: int = 8 << 20
    """Size of one source's text as UTF-8, and of the texts of its former versions together."""
    source_inline_chars: int = 100_000
    """Characters of a text up to which the transaction that takes it in cuts it, too; longer ones are cut later."""
    source_block_chars: int = 32 << 10
    """Characters of a text that one row holds."""
    sources_read: int = 4
    """Sources of a corpus that are fetched and read at the same time."""
    sources_per_call: int = 200
    """Sources that one call of a function about many of them changes."""
    files_at_once: int = 8
    """Files of a folder that are brought in side by side; their transactions share commits."""
    known_files: int = 1000
    """Sources from files that are looked up at once."""
    sources_bulk: int = 20
    """Files of a folder above which they give way to what a person adds."""
    chunk_neighbours: int = 50
    """Chunks on either side of another one that are shown with it."""
    source_read_attempts: int = 5
    """Tries to fetch a source from an address that does not answer."""
    source_read_pause_seconds: float = 5.0
    """Pause after the first failed try; each further one is four times as long."""
    source_key_length: int = 2048
    """Characters of a source's key."""
    source_name_length: int = 500
    """Characters of a source's name; the rest is cut off."""
    source_summary_chars: int = 10_000
    """Characters of a source's summary that its caller words."""
    golden_questions: int = 1000
    """Questions of a corpus's golden set, of each owner's where it has owners."""
    golden_question_length: int = 1000
    """Characters of such a question."""
    golden_expected: int = 50
    """What one question of a golden set may expect."""
    golden_live: int = 50
    """Questions that one live evaluation searches for: it runs again with every change that one of them sees."""
    golden_batch: int = 32
    """Questions of a golden set that are embedded between two looks at what is left."""
    golden_attempts: int = 8
    """Tries to embed the questions of a golden set."""
    evaluation_requests: int = 4
    """Questions of a golden set that are embedded, or searched for by an action, at the same time."""
    map_points: int = 20_000
    """Vectors that a map shows; of more it shows a part."""
    map_block_points: int = 1000
    """Points of a map that are one document."""
    map_batch: int = 200
    """Chunks whose vectors are read at once for a map."""
    ledger_shards: int = 4
    """Rows that each total of a corpus's ledger is kept in, so that work that ends at the same time does not meet."""

    # Embedding in the background
    embedding_run_seconds: float = 300.0
    """How long one run of what embeds goes on before another one takes over."""
    embedding_poll_seconds: float = 0.5
    """How often a run with free places looks for more to do."""
    embedding_seconds: float = 900.0
    """How long an embedder may take for one batch, its waits and tries included."""
    embedding_failures: int = 8
    """Texts of one source that an embedder may refuse before the source is given up."""
    cached_vectors: int = 200_000
    """Vectors that a corpus keeps by what they were made of."""
    cached_vectors_pruned: int = 1000
    """Those of them that one transaction removes when there are too many."""
    budget_check_seconds: float = 60.0
    """How often work that a budget holds up is looked at again."""
    jobs_listed: int = 100
    """Sources in work that one list shows."""

    # Answers of a corpus
    answer_passages: int = 20
    """Passages that an answer is made of, at most."""
    answer_passage_chars: int = 6000
    """Characters of one passage that a prompt gets."""
    answer_sentences: int = 40
    """Sentences that are looked at for an answer without a chat model."""
    answer_write_seconds: float = 0.05
    """Pause between two writes of an answer that comes in; what comes meanwhile is written together."""
    answer_slow_blocks: int = 500
    """Blocks of an answer after which the pause between two writes grows by its own length, each time."""
    answer_pieces: int = 1000
    """Pieces of an answer that are read ahead of what is written."""
    answer_chars: int = 200_000
    """Characters of an answer; a longer one is cut."""
    answer_page_blocks: int = 16
    """Blocks of an answer that a page has: a full page is not sent again."""
    answer_look_seconds: float = 0.5
    """Pause between two looks whether an answer was stopped, while nothing comes in."""
    answer_interruptions: int = 2
    """Crashes in the middle of an answer after which it is not begun again."""
    answer_patience_seconds: float = 120.0
    """How long an answer waits for providers that ask to come later."""
    answer_pause_seconds: float = 2.0
    """First pause before a provider that failed is asked again for an answer; it doubles."""
    answers_per_sweep: int = 2
    """Answers of a deleted thread that one transaction removes."""
    thread_turns: int = 8
    """Questions before one in a thread that it may refer to."""
    thread_turn_chars: int = 2000
    """Characters of a former answer that are kept for later questions of its thread."""
    thread_title_length: int = 200
    """Characters of a thread's title."""
    templates: int = 100
    """Templates of a corpus, or of an owner."""
    template_length: int = 20_000
    """Characters of a template."""
    template_tokens: int = 100_000
    """Largest token budget of a template."""

    # Remote vector stores
    remote_batch_records: int = 100
    """Records that one request to a remote vector store carries."""
    remote_batch_bytes: int = 2_000_000
    """Bytes of records that one request to a remote vector store carries, counted generously."""
    remote_deleted_ids: int = 1000
    """Ids that one request to a remote vector store deletes."""
    remote_fetched_ids: int = 100
    """Ids that one request asks a remote vector store for; they travel in its address."""
    remote_requests: int = 8
    """Requests to one remote vector store at the same time."""
    remote_waiting: int = 10_000
    """Requests to one remote vector store that wait for their turn; beyond it callers are refused."""
    remote_indexes: int = 256
    """Indexes of one remote vector store in use."""
    remote_attempts: int = 5
    """Tries of one request to a remote vector store."""
    remote_first_pause_seconds: float = 0.5
    """Pause after the first failed try; it doubles with each further one."""
    remote_longest_pause_seconds: float = 20.0
    """Longest pause between two tries; a store that asks for a longer one is not waited for."""
    remote_retry_after_seconds: float = 3600.0
    """Longest pause asked for by a store that is believed."""
    remote_request_seconds: float = 30.0
    """How long a remote vector store may take to answer one request."""
    remote_create_seconds: float = 300.0
    """How long a remote vector store may take to make an index that an application declares."""
    remote_settle_seconds: float = 60.0
    """How long `settled` waits for a remote vector store to show what was written."""
    remote_positions: int = 1 << 16
    """Namespaces whose last written position is remembered for `settled`."""

    # Commits
    group_size: int = 128
    """Mutations that share one COMMIT."""
    gather_seconds: float = 0.002
    """Longest wait for mutations that may share the next COMMIT."""
    queued_mutations: int = 10_000
    """Mutations that wait for their turn; beyond it callers are refused."""
    optimistic_attempts: int = 3
    """Tries of a mutation beside others before it runs alone."""
    retention_seconds: float = 300.0
    """How far back reads at a timestamp can go."""
    prune_interval_seconds: float = 10.0
    """Pause between two cleanings of history and stored answers."""
    write_log_commits: int = 5_000
    """Commits kept for conflict checks, at least; up to twice as many are in memory."""
    write_log_search_bytes: int = 16 << 20
    """Bytes of vectors and texts kept of former commits for conflict checks; of older ones it is only known that they
    changed an index."""
    request_retention_seconds: float = 24 * 3600.0
    """How long the answer of a client's mutation is kept for replays."""
    unindexed_requests: int = 1000
    """Stored answers that are looked through one by one until they enter their index together."""
    wal_pages: int = 4000
    """Pages of SQLite's write-ahead log after which it is folded back into the database."""
    readers: int = 8
    """Read connections kept open."""
    snapshots_open: int = 256
    """Snapshots of the storage that may be open at the same time."""
    sqlite_cache_kib: int = 16 << 10
    """Page cache of one SQLite connection, in KiB."""
    sqlite_busy_seconds: float = 1.0
    """How long another program's lock on the database file is waited for."""
    prune_rows: int = 2000
    """Rows of history, and stored answers, that one call of the storage's prune() removes."""

    # Live queries
    cached_queries: int = 10_000
    """Query results kept while nobody subscribes to them."""
    cached_bytes: int = 64 << 20
    """Bytes of query results kept while nobody subscribes to them."""
    clock_result_seconds: float = 15.0
    """How long a result that read `ctx.now()` without `every` is served from the cache."""
    transition_slice_seconds: float = 0.02
    """How long transitions are computed before other work gets a turn."""

    # Scheduler
    actions_running: int = 64
    """Scheduled actions that run at the same time."""
    schedules_per_mutation: int = 1000
    """Functions that one mutation may schedule."""
    scheduled_arguments_bytes: int = 4 << 20
    """Size of the arguments of one scheduled function as JSON."""
    schedules_bytes: int = 16 << 20
    """Size of the arguments of all functions that one mutation schedules."""
    scheduled_outstanding: int = 1_000_000
    """Scheduled functions that are pending or running; beyond it no more can be scheduled."""
    schedule_first_pause_seconds: float = 0.5
    """Pause after the server, not the function, failed to run a scheduled function; it doubles with each failure."""
    schedule_longest_pause_seconds: float = 60.0
    """Longest of these pauses."""
    scheduled_retention_seconds: float = 7 * 86400.0
    """How long finished scheduled functions stay visible."""
    action_seconds: float = 1800.0
    """Wall time of an action."""

    # Variables
    variables: int = 1000
    """Variables that `reflow env` stores."""
    variable_name_length: int = 40
    """Characters of a variable's name. Of the process."""
    variable_bytes: int = 8 << 10
    """Size of a variable's value as UTF-8."""

    # Files
    content_type_length: int = 255
    """Characters of a file's content type. Of the process."""
    file_bytes: int = 5 << 30
    """Size of one file."""
    uploads: int = 32
    """Files that are being stored at the same time; beyond it callers are refused."""
    upload_url_seconds: float = 3600.0
    """How long the address for an upload can be used."""
    upload_seconds: float = 3600.0
    """How long one upload may take."""
    downloads: int = 1000
    """Files that are being sent to clients at the same time; beyond it they are refused."""
    file_idle_seconds: float = 60.0
    """How long the sender of an upload may send nothing, and the receiver of a file take nothing."""
    file_chunk_bytes: int = 256 << 10
    """Bytes of a file that are read or written at once on disk and sent at once to clients."""
    file_part_bytes: int = 8 << 20
    """Bytes of a file that one request brings to an object store; an upload holds up to three of them."""
    file_fetch_bytes: int = 1 << 20
    """Bytes of a file that one request fetches from an object store; a download holds up to four of them."""
    file_threads: int = 4
    """Threads that read and write files on disk."""
    files_collected: int = 100
    """Files whose bytes are removed before their rows are, and unused addresses that go, in one transaction."""
    file_store_seconds: float = 30.0
    """How long an object store may take to answer one request."""

    # Crons and migrations
    crons: int = 1000
    """Crons of one application. Of the process."""
    cron_interval_seconds: float = 1.0
    """Shortest interval of a cron. Of the process."""
    cron_runs_kept: int = 5
    """Ends of runs that are kept of each cron."""
    cron_missed: int = 1000
    """Missed times of a cron expression that are counted; further ones are skipped uncounted. Of the process."""
    migration_batch: int = 100
    """Documents that one transaction of a migration looks at."""
    migration_batch_bytes: int = 8 << 20
    """Bytes of documents after which such a transaction ends."""

    # Identities
    token_bytes: int = 16 << 10
    """Size of a token that says who calls."""
    tokens_remembered: int = 4096
    """Checked tokens that need not be checked again while their provider's keys are the same."""
    clock_tolerance_seconds: float = 5.0
    """How far the clock of a provider of identities may be from the server's: tokens are taken that much longer."""
    provider_seconds: float = 10.0
    """How long a provider of identities may take to tell its keys."""
    provider_pause_seconds: float = 5.0
    """Shortest pause between two questions for the keys of one provider; a token with an unknown key waits as long."""
    keys_fresh_seconds: float = 600.0
    """Age at which the keys of a provider are asked for again, while the known ones go on."""
    keys_kept_seconds: float = 24 * 3600.0
    """How long the known keys go on while their provider does not answer."""
    keys_bytes: int = 256 << 10
    """Size of what a provider answers: its configuration, its keys."""
    keys_per_provider: int = 64
    """Keys of one provider that are kept; those that come first."""

    # Doors
    connections: int = 20_000
    """Connections of a server, websockets and others; fewer where the system allows fewer open files."""
    head_bytes: int = 64 << 10
    """Size of a request's address and headers."""
    stalled_seconds: float = 30.0
    """How long a client may take for the head of its request, or for `stalled_bytes` of its body."""
    stalled_bytes: int = 8 << 10
    """Bytes of a body that have to come in `stalled_seconds`."""
    unread_seconds: float = 60.0
    """How long a client may leave unread what it was sent, where the system can tell (Linux)."""
    message_bytes: int = 17 << 20
    """Size of one websocket message from a client."""
    body_bytes: int = 17 << 20
    """Size of an HTTP request's body."""
    pinecone_body_bytes: int = 2 << 20
    """Size of the body of a Pinecone client's request."""
    pinecone_result_bytes: int = 4 << 20
    """Size of the answer to a Pinecone client's query; pages of records have about as much at most."""
    texts_per_request: int = 96
    """Texts that one request of a Pinecone client has embedded."""
    queries_per_socket: int = 4096
    """Live queries of one connection."""
    query_bytes_per_socket: int = 32 << 20
    """Bytes of the paths, arguments and journals of one connection's live queries."""
    waiting_bytes: int = 256 << 20
    """Bytes of arguments of clients' mutations and actions that are not answered yet, over all connections."""
    queries_per_batch: int = 1000
    """Queries of one request to /api/query_batch; their results have `result_bytes` together."""
    mutations_per_socket: int = 1000
    """Mutations of one connection that wait for their answer."""
    actions_per_socket: int = 1000
    """Actions of one connection that wait for their answer."""
    route_requests: int = 4096
    """Requests to an app's own routes that run at the same time."""
    client_actions: int = 4096
    """Actions that run for clients at the same time, over all connections."""
    socket_buffer_bytes: int = 256 << 10
    """Unsent bytes of a connection above which no further transition is computed for it."""
    chunk_bytes: int = 1 << 20
    """Bytes of a transition that leave in one message, where the client understands a transition in chunks."""
    ping_seconds: float = 15.0
    """Silence after which the server sends a Ping."""
    pong_seconds: float = 60.0
    """How long a client may take to answer a ping of the transport before it is taken for gone."""
    deflate_from_bytes: int = 4 << 10
    """Frames below this size are sent uncompressed."""
    deflate_to_bytes: int = 1 << 20
    """Frames above this size are sent uncompressed: packing them would keep everybody waiting."""
    shutdown_seconds: float = 5.0
    """How long requests may go on when the server stops."""


DEFAULT = Limits()
