"""`v2xum web`: a video dropped into a browser, and the page of its summary."""
