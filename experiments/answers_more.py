"""The pages of answers.py beside its primary one: more clips, and answers that have the video from the noun alone."""

from answers import PAGES, PRIMARY
from swimlab import main

if __name__ == "__main__":
    main(*(page for page in PAGES if page is not PRIMARY))
