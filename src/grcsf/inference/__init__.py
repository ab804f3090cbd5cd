"""From an image to a lesion mask on the scanner's own grid."""
