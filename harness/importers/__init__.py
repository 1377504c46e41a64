"""Where cases come from: public data sets and made scenes."""
