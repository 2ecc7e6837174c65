"""The desk: reads Run files and makes fits, gaps and verdicts of them. Never imports torch."""
