// The page's line icons, drawn here so that it needs no package of thousands.
import type { ReactNode } from "react";

type IconProps = { size?: number };

export type IconType = (props: IconProps) => ReactNode;

function icon(drawing: ReactNode): IconType {
  return function Icon({ size = 16 }) {
    return (
      <svg
        width={size}
        height={size}
        viewBox="0 0 24 24"
        fill="none"
        stroke="currentColor"
        strokeWidth={1.75}
        strokeLinecap="round"
        strokeLinejoin="round"
        aria-hidden="true"
        style={{ flex: "none" }}
      >
        {drawing}
      </svg>
    );
  };
}

export const SourcesIcon = icon(<path d="M4 6.5h16M4 12h16M4 17.5h10" />);
export const SearchIcon = icon(<path d="M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14ZM20 20l-4-4" />);
export const CompareIcon = icon(
  <path d="M6 8a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM18 14a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM7 20a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM7.8 7l8.4 4M8.8 17.2l7.5-4.3" />,
);
export const MapIcon = icon(<path d="M4 4v16h16M9 15.5v.1M12 10v.1M16 13v.1M17.5 6.5v.1M9 6.5v.1" strokeWidth={2.2} />);
export const AskIcon = icon(<path d="M20 11.5a7.5 7.5 0 0 1-11 6.6L4 19.5l1.4-4.6A7.5 7.5 0 1 1 20 11.5Z" />);
export const StatusIcon = icon(<path d="M3 12h4l2.5-7 5 14 2.5-7h4" />);
export const CloseIcon = icon(<path d="m6 6 12 12M18 6 6 18" />);
export const CheckIcon = icon(<path d="m5 13 4.5 4.5L19 7" />);
export const WarningIcon = icon(<path d="M12 4 2.8 19.5h18.4L12 4Zm0 6v4.5m0 2.6v.1" />);
export const RetryIcon = icon(<path d="M19.5 12a7.5 7.5 0 1 1-2.4-5.5M19.5 3.5v4h-4" />);
export const StopIcon = icon(<path d="M7 7h10v10H7z" />);
export const DeleteIcon = icon(<path d="M5 7h14M10 4h4M7 7l1 13h8l1-13M10.5 11v5.5M13.5 11v5.5" />);
export const PlusIcon = icon(<path d="M12 5v14M5 12h14" />);
export const FileIcon = icon(<path d="M7 3h7l4 4v14H7V3Zm7 0v4h4M10 12h5M10 16h5" />);
export const FolderIcon = icon(<path d="M3.5 6h6l2 2.5h9V19h-17V6Z" />);
export const GlobeIcon = icon(
  <path d="M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17ZM3.5 12h17M12 3.5c5 5.5 5 11.5 0 17M12 3.5c-5 5.5-5 11.5 0 17" />,
);
export const TextIcon = icon(<path d="M5 6h14M5 11h14M5 16h8" />);
export const PinIcon = icon(<path d="M9 4h6l-.8 6 3.3 3.5h-11L9.8 10 9 4ZM12 13.5V20" />);
export const HistoryIcon = icon(<path d="M4.5 12A7.5 7.5 0 1 0 7 6.4M4.5 4.5v4h4M12 8v4.5l3 1.8" />);
export const FilterIcon = icon(<path d="M4 6h16M7 12h10M10 18h4" />);
export const ArrowIcon = icon(<path d="M12 20V5M6 11l6-6 6 6" strokeWidth={2.6} />);
export const BackIcon = icon(<path d="M19 12H5M11 6l-6 6 6 6" />);
export const SendIcon = icon(<path d="M12 19V5M6 11l6-6 6 6" />);
export const LinkIcon = icon(
  <path d="M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1" />,
);
export const EditIcon = icon(<path d="M4 20h4L19 9l-4-4L4 16v4ZM13 7l4 4" />);
export const InfoIcon = icon(<path d="M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17ZM12 11v5.5M12 7.6v.1" />);
export const SunIcon = icon(
  <path d="M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M18.7 5.3l-1.4 1.4M6.7 17.3l-1.4 1.4" />,
);
export const MoonIcon = icon(<path d="M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z" />);
export const KeyboardIcon = icon(<path d="M3 6.5h18v11H3zM6.5 10v.1M10 10v.1M14 10v.1M17.5 10v.1M8 14h8" />);
export const MoreIcon = icon(<path d="M6 12v.1M12 12v.1M18 12v.1" strokeWidth={2.6} />);
export const CoinIcon = icon(
  <path d="M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17ZM14.8 9c-.5-1-1.5-1.4-2.8-1.4-1.600 0-2.800.7-2.800 2.100 0 3.200 5.800 1.400 5.800 4.500 0 1.500-1.300 2.200-3 2.200-1.500 0-2.600-.6-3.100-1.700M12 6v1.600M12 16.400V18" />,
);

export function Logo({ size = 24 }: IconProps) {
  return <img src="/favicon.svg" width={size} height={size} alt="" />;
}
