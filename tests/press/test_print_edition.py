"""What the book on paper makes of its parts, without LaTeX."""

from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.utils import new_document

from print_edition import PrintEdition


def test_a_claim_in_few_lines_keeps_the_place_that_links_lead_to():
    document = new_document("claims", get_default_settings())
    parts = [nodes.paragraph("", text) for text in ("It is so.", "Holds", "Paper")]
    document += nodes.container("", *parts, classes=["claim"], ids=["claim-so"])
    PrintEdition(document).set_claims_in_few_lines()
    (card,) = document.findall(nodes.container)
    assert [line.astext() for line in card] == ["It is so.", "Holds · Paper"]
    (place,) = card[0].findall(nodes.target)
    assert place["ids"] == ["claim-so"]
