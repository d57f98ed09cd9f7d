"""Reports: numbers in, text out.  Nothing here computes what a study should."""
