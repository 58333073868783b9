import { defineConfig } from 'vitest/config';

export default defineConfig({
  build: {
    // Two pages: the showcase, and the one that each signed-in user's frame shows.
    rolldownOptions: { input: ['index.html', 'pane.html'] },
    // Nothing inlined: the pages' Content-Security-Policy allows no data: URLs.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  test: {
    projects: [
      { test: { name: 'unit', include: ['src/**/*.test.ts'] } },
      {
        test: {
          name: 'e2e',
          include: ['e2e/**/*.test.ts'],
          // Starting MySQL, Redis, Soketi and chorusd takes seconds; compiling them in may take more.
          hookTimeout: 180_000,
          testTimeout: 30_000,
        },
      },
    ],
  },
});
