"""Front doors: the questions of other systems, made into the contract's, and back.

No door decides: each makes an AuthorizeRequest, and writes the answer in its own words.
"""
