// Colours of charts in both themes, as many as there may be jobs in one; at least 3:1 against the ground.
export const COLOURS = {
  light: ["#0d5c63", "#b4530a", "#1d4f91", "#7a2e6e", "#5f6b0a", "#b3261e", "#1f7a3d", "#6b4423"],
  dark: ["#6fc7cd", "#f0a35c", "#8ab8f2", "#dc9ad0", "#c3cc6a", "#ff8f87", "#7fd39a", "#c9a27e"],
};
export const PAPER = {
  light: { text: "#565d63", grid: "#e6e6e0", ground: "#ffffff", baseline: "#6b7278" },
  dark: { text: "#a3abb2", grid: "#2b3036", ground: "#1b1f23", baseline: "#9aa2a9" },
};

export const readTheme = () =>
  document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
