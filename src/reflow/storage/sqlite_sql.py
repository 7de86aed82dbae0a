"""Every SQL statement of the SQLite storage, and with them the layout of its file.

Tables, where <n> is the number of a reflow table or index and <g> a generation of a vector index:

| name              | columns                                  | holds                                        |
|-------------------|------------------------------------------|----------------------------------------------|
| `d_<n>`           | seq, value                               | the documents of a table, as they are now    |
| `i_<n>`           | key, seq                                 | a range index                                |
| `t_<n>`           | tokens                                   | a text index (FTS5 without content)          |
| `v_<n>`           | generation                               | which generations a vector index has         |
| `v_<n>_<g>`       | seq, vector                              | the float32 vectors of one generation        |
| `vector_log`      | number, generation, ts, seqs             | which vectors changed, per commit            |
| `log`             | ts, undo                                 | per commit, what it replaced                 |
| `horizon`         | ts, failed_commits, requests_indexed     | one row: reads from this timestamp on work   |
| `requests`        | ts, session, request, result             | answers kept for replays, oldest first       |
| `requests_index`  | session, request, ts                     | all but the newest of them, filled in batches |
| `meta`            | key, value                               | small named values of the engine             |

`seq` and `ts` are rowids, so that new rows append: a row at a random place costs a page of the write-ahead log. The
`seqs` of `vector_log` are sequence numbers of 8 little-endian bytes each.
"""

from __future__ import annotations


class Statement(dict[int, str]):
    """SQL text per table or index number, formatted once: equal text lets apsw find the prepared statement."""

    def __init__(self, template: str) -> None:
        super().__init__()
        self._template = template

    def __missing__(self, number: int) -> str:
        text = self[number] = self._template.replace("<n>", str(number))
        return text


class PairStatement(dict[tuple[int, int], str]):
    """Like `Statement` for two numbers: a table and its index, or a vector index and a generation."""

    def __init__(self, template: str) -> None:
        super().__init__()
        self._template = template

    def __missing__(self, numbers: tuple[int, int]) -> str:
        first, second = numbers
        text = self[numbers] = self._template.replace("<n>", str(first)).replace("<g>", str(second))
        return text


FIXED_TABLES = {
    "log": "CREATE TABLE log (ts INTEGER PRIMARY KEY, undo BLOB NOT NULL)",
    "horizon": "CREATE TABLE horizon (ts INTEGER NOT NULL, failed_commits INTEGER NOT NULL,"
    " requests_indexed INTEGER NOT NULL)",
    "requests": "CREATE TABLE requests (ts INTEGER PRIMARY KEY, session TEXT NOT NULL, request INTEGER NOT NULL,"
    " result BLOB NOT NULL)",
    "requests_index": "CREATE TABLE requests_index (session TEXT NOT NULL, request INTEGER NOT NULL,"
    " ts INTEGER NOT NULL, PRIMARY KEY (session, request)) WITHOUT ROWID",
    "vector_log": "CREATE TABLE vector_log (number INTEGER NOT NULL, generation INTEGER NOT NULL, ts INTEGER NOT NULL,"
    " seqs BLOB NOT NULL, PRIMARY KEY (number, generation, ts)) WITHOUT ROWID",
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
}

# Documents

CREATE_TABLE = Statement("CREATE TABLE IF NOT EXISTS d_<n> (seq INTEGER PRIMARY KEY, value BLOB NOT NULL)")
DROP_TABLE = Statement("DROP TABLE IF EXISTS d_<n>")
GET = Statement("SELECT value FROM d_<n> WHERE seq = ?")
INSERT = Statement("INSERT INTO d_<n> VALUES (?, ?)")
UPDATE = Statement("UPDATE d_<n> SET value = ?2 WHERE seq = ?1")
DELETE = Statement("DELETE FROM d_<n> WHERE seq = ?")
SCAN_TABLE = Statement("SELECT seq, value FROM d_<n> WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?")
SCAN_TABLE_DOWN = Statement("SELECT seq, value FROM d_<n> WHERE seq BETWEEN ? AND ? ORDER BY seq DESC LIMIT ?")
COUNT_TABLE = Statement("SELECT count(*) FROM d_<n> WHERE seq BETWEEN ? AND ?")

# Range indexes. CROSS JOIN keeps SQLite from visiting the documents first.

CREATE_RANGE = Statement("CREATE TABLE IF NOT EXISTS i_<n> (key BLOB PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID")
DROP_RANGE = Statement("DROP TABLE IF EXISTS i_<n>")
LINK = Statement("INSERT OR REPLACE INTO i_<n> VALUES (?, ?)")
UNLINK = Statement("DELETE FROM i_<n> WHERE key = ?")
_SCAN = (
    "SELECT i.key, i.seq, d.value FROM i_<g> AS i CROSS JOIN d_<n> AS d ON d.seq = i.seq"
    " WHERE i.key >= ? AND i.key < ? ORDER BY i.key"
)
SCAN_RANGE = PairStatement(_SCAN + " LIMIT ?")
SCAN_RANGE_DOWN = PairStatement(_SCAN + " DESC LIMIT ?")
COUNT_RANGE = Statement("SELECT count(*) FROM i_<n> WHERE key >= ? AND key < ?")

# Text indexes. The engine hands over normalised tokens separated by spaces. FTS5 must split nowhere else, so every
# printable ASCII sign counts as part of a token; bytes beyond ASCII do so by themselves.

_SIGNS = "".join(sign for sign in map(chr, range(33, 127)) if not sign.isalnum())
_TOKENIZER = "ascii tokenchars '" + _SIGNS.replace("'", "''").replace('"', '""') + "'"
CREATE_TEXT = Statement(
    "CREATE VIRTUAL TABLE IF NOT EXISTS t_<n> USING fts5"
    f"""(tokens, content = '', contentless_delete = 1, tokenize = "{_TOKENIZER}")"""
)
DROP_TEXT = Statement("DROP TABLE IF EXISTS t_<n>")
PUT_TOKENS = Statement("INSERT OR REPLACE INTO t_<n> (rowid, tokens) VALUES (?, ?)")
DELETE_TOKENS = Statement("DELETE FROM t_<n> WHERE rowid = ?")
MATCH = Statement(
    "SELECT rowid, -bm25(t_<n>) AS score FROM t_<n> WHERE t_<n> MATCH ?"
    " ORDER BY score DESC, rowid DESC LIMIT ? OFFSET ?"
)
COUNT_MATCHES = Statement("SELECT count(*) FROM t_<n> WHERE t_<n> MATCH ?")
TEXT_TOTALS = Statement("SELECT block FROM t_<n>_data WHERE id = 1")
"""FTS5's own record of the corpus: the number of rows, then the number of tokens, as varints."""

# Vectors. A generation has its own table, where the sequence number is the rowid: rows append and fill their pages.

CREATE_VECTOR = Statement("CREATE TABLE IF NOT EXISTS v_<n> (generation INTEGER PRIMARY KEY)")
DROP_VECTOR = Statement("DROP TABLE IF EXISTS v_<n>")
GENERATIONS = Statement("SELECT generation FROM v_<n>")
ADD_GENERATION = Statement("INSERT OR IGNORE INTO v_<n> VALUES (?)")
HAS_GENERATION = Statement("SELECT 1 FROM v_<n> WHERE generation = ?")
CREATE_GENERATION = PairStatement(
    "CREATE TABLE IF NOT EXISTS v_<n>_<g> (seq INTEGER PRIMARY KEY, vector BLOB NOT NULL)"
)
DROP_GENERATION = PairStatement("DROP TABLE IF EXISTS v_<n>_<g>")
PUT_VECTOR = PairStatement("INSERT OR REPLACE INTO v_<n>_<g> VALUES (?, ?)")
DELETE_VECTOR = PairStatement("DELETE FROM v_<n>_<g> WHERE seq = ?")
GET_VECTOR = PairStatement("SELECT vector FROM v_<n>_<g> WHERE seq = ?")
SCAN_VECTORS = PairStatement("SELECT seq, vector FROM v_<n>_<g> WHERE seq > ? ORDER BY seq LIMIT ?")

LOG_VECTORS = "INSERT INTO vector_log VALUES (?, ?, ?, ?)"
VECTOR_LOG = "SELECT seqs FROM vector_log WHERE number = ? AND generation = ? AND ts > ?"
FORGET_VECTOR_LOG = "DELETE FROM vector_log WHERE number = ? AND generation = ? AND ts <= ?"
DROP_VECTOR_LOG = "DELETE FROM vector_log WHERE number = ?"

# History, answers, names

EXISTS = "SELECT 1 FROM sqlite_schema WHERE name = ?"
TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table'"
FIX = "SELECT 1 FROM sqlite_schema LIMIT 1"
NEWEST = "SELECT max(ts) FROM log"
LOG = "INSERT INTO log VALUES (?, ?)"
UNDO = "SELECT ts, undo FROM log WHERE ts > ? ORDER BY ts"
HORIZON = "SELECT ts FROM horizon"
COUNT_FAILED_COMMIT = "UPDATE horizon SET failed_commits = failed_commits + 1"
PRUNE_UNDO_TO = (
    "SELECT max(ts), count(*) FROM"
    " (SELECT ts FROM log WHERE ts <= ? AND ts < (SELECT max(ts) FROM log) ORDER BY ts LIMIT ?)"
)
PRUNE_UNDO = "DELETE FROM log WHERE ts <= ?"
RAISE_HORIZON = "UPDATE horizon SET ts = ?1 WHERE ts < ?1"
PRUNE_REQUESTS_TO = "SELECT max(ts), count(*) FROM (SELECT ts FROM requests WHERE ts < ? ORDER BY ts LIMIT ?)"
PRUNE_REQUESTS_INDEX = (
    "DELETE FROM requests_index WHERE (session, request) IN (SELECT session, request FROM requests WHERE ts <= ?1)"
    " AND ts <= ?1"
)
PRUNE_REQUESTS = "DELETE FROM requests WHERE ts <= ?"
PUT_REQUEST = "INSERT INTO requests VALUES (?, ?, ?, ?)"
IS_INDEXED_REQUEST = "SELECT 1 FROM requests_index WHERE session = ? AND request = ?"
GET_REQUEST = (
    "SELECT r.ts, r.result FROM requests_index AS i CROSS JOIN requests AS r ON r.ts = i.ts"
    " WHERE i.session = ?1 AND i.request = ?2"
    " UNION ALL SELECT ts, result FROM requests"
    " WHERE ts > (SELECT requests_indexed FROM horizon) AND session = ?1 AND request = ?2 LIMIT 1"
)
UNINDEXED_REQUESTS = "SELECT session, request FROM requests WHERE ts > (SELECT requests_indexed FROM horizon)"
INDEX_REQUESTS = (
    "INSERT OR IGNORE INTO requests_index SELECT session, request, ts FROM requests"
    " WHERE ts > (SELECT requests_indexed FROM horizon) ORDER BY session, request, ts"
)
REQUESTS_INDEXED = "UPDATE horizon SET requests_indexed = (SELECT max(ts) FROM requests)"
READ_META = "SELECT key, value FROM meta"
PUT_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
DELETE_META = "DELETE FROM meta WHERE key = ?"
