"""Entries x data sets x folds x seeds on equal terms: a resumable queue of runs, stored scores, tables and figures."""
