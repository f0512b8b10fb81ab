"""Masks: every encoding in annotation files, COCO run lengths, and area fractions on a grid."""
