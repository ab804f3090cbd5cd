"""A small web service around prediction: upload a scan, wait, fetch the mask; nothing is kept."""
