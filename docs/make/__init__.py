"""What the documentation is made with: pictures drawn from the code, lists of licences, the site's links.

python -m docs.make    # writes docs/pictures/ and docs/licences.md anew
"""
