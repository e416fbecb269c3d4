"""What was found of videos -> the files of a data set, their splits and their checks."""
