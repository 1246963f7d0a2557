"""The training data: labelled folders, their pictures, and the split of these.

image_dir ─> image_listing ─> dataset ─> split ─> distorted copies
             (image_files)    (layout)            (distortions)
             which files      which folders
             are pictures     are labels

             packs: few large files with many pictures
             source: reads pictures, wherever they are
"""
