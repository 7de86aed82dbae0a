// Files that were chosen or dropped, folders among them, with the paths they have in there.

export type Chosen = { path: string; file: File };

const IGNORED = /(^|\/)(\.|node_modules\/|__pycache__\/)/;

/** Return the files of a file field, with their paths in a chosen folder. */
export function chosenFiles(list: FileList | null): Chosen[] {
  return [...(list ?? [])]
    .map((file) => ({ path: file.webkitRelativePath || file.name, file }))
    .filter(({ path }) => !IGNORED.test(path));
}

/** Return the files of a drop; folders are walked, hidden files in them left out. */
export async function droppedFiles(data: DataTransfer): Promise<Chosen[]> {
  // The entries must be taken before the first await: the browser empties the list after the event.
  const entries = [...data.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const found = await Promise.all(entries.map(walk));
  return found.flat();
}

async function walk(entry: FileSystemEntry): Promise<Chosen[]> {
  const path = entry.fullPath.replace(/^\//, "");
  if (IGNORED.test(path)) return [];
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [{ path, file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const children: FileSystemEntry[] = [];
  // A reader hands out a folder in parts, and an empty part at its end.
  for (;;) {
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) break;
    children.push(...part);
  }
  return (await Promise.all(children.map(walk))).flat();
}
