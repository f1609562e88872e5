"""Unpaired samples: data sets, a domain's part of one, and endless batches."""
