import { memo } from "react";

type MarkedProps = { text: string; words: string[] };

/** A text in which some words are marked, in whatever form they begin. */
export const Marked = memo(function Marked({ text, words }: MarkedProps) {
  if (words.length === 0) return text;
  const pattern = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
  const parts = text.split(new RegExp(`(?<![\\p{L}\\p{N}])((?:${pattern})[\\p{L}]{0,3})(?![\\p{L}\\p{N}])`, "giu"));
  return parts.map((part, index) => (index % 2 === 1 ? <mark key={index}>{part}</mark> : part));
});
