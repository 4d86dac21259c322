"""Scoring: feature extractors apart from pure metrics, and the protocol behind each number.

Pure functions of features, one file a family: `fid`, `kid`, `inception_score`, `precision_recall`,
`density_coverage`, `classes`, `diversity`, `memorisation`. What feeds them: `features`,
`inception`, `reference`, `sampling`. What combines them: `scoring`, `evaluation`, `floors`,
`controls`. What a number is worth: `protocol`, which needs no torch, so that reports can read it.
"""
