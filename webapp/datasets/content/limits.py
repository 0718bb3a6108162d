"""Limits of uploads, small enough that no row or file fills a process's memory."""

MAX_LINE_BYTES = 4 * 2**20
MAX_CELL_BYTES = 4 * 2**20
MAX_ROWS = 5_000_000
MAX_FIELDS = 256
MAX_DEPTH = 32
MAX_NAME = 200
MAX_MESSAGES = 1000
MAX_UNPACKED_BYTES = 32 * 2**30
MAX_UNPACKED_RATIO = 200  # unpacked to packed; checked above MIN_RATIO_BYTES only
MIN_RATIO_BYTES = 256 * 2**20
ERRORS_SHOWN = 100
EXCERPT_CHARACTERS = 160
EXAMPLES_SHOWN = 20
PREVIEW_ROWS = 5
PREVIEW_CANDIDATES = 50  # rows kept for the preview until the splits are final; test rows are not shown
SAMPLE_ROWS = 3
PAGE_ROWS = 25
ROWS_PER_OFFSET = 500
STALE_UPLOAD_HOURS = 24
EARLIER_ROWS = 20_000  # prompts of a version up to this size keep their splits in the next version
