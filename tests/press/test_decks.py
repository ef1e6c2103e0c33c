"""Decks of slides, from a chapter of one page."""

import pytest
from bs4 import BeautifulSoup, Tag

from slides import Slide, brief, sentences, slides

PAGE = """
<article><section><h1>4. Misaligned<a class="headerlink">#</a></h1>
<div class="admonition-what-you-will-learn"><ul><li>To share.</li></ul>
<p>You need <a href="03-aligned.html#ch-aligned">Aligned agents</a>.</p></div>
<section id="one"><h2>4.1. Two agents</h2>
<p>Who gives in?</p>
<p>The reason is this.</p>
<div class="proof theorem admonition"><p class="admonition-title">Theorem 4.1</p>
<section><p>Both do.</p></section></div>
<div class="proof admonition"><p>Proof. Count.</p></div>
<p>Look at it.</p>
<figure><img src="wide.svg" alt="a"><figcaption>
<span class="caption-text">Both stop, <em>soon.</em> Dots are runs.</span>
</figcaption></figure>
<p>So it is.</p>
</section>
<section id="two"><h2>4.2. In one line</h2>
<p>Measure first. The rule is</p><div class="math"><math><mi>w</mi></math></div>
</section>
<section id="three"><h2>4.3. Code</h2><p>Its axes are</p></section>
<section id="summary"><h2>Summary</h2><ul><li>1</li><li>2</li><li>3</li><li>4</li></ul>
</section>
<section id="exercises"><h2>Exercises</h2>
<div class="exercise"><p class="admonition-title">Exercise 4.1 (In your head)</p>
<p><em>Easy, 10 minutes.</em></p><section><p>Find it.</p></section></div></section>
</section></article>
"""


@pytest.fixture
def deck(tmp_path) -> list[Slide]:
    (tmp_path / "wide.svg").write_text('<svg viewBox="0 0 4 3"/>', encoding="utf-8")
    return slides(BeautifulSoup(PAGE, "html.parser"), tmp_path)


def paragraph(text: str) -> Tag:
    return BeautifulSoup(f"<p>{text}</p>", "html.parser").p


def said(slide: Slide) -> str:
    return " ".join(note.get_text() for note in slide.notes)


def test_what_stands_apart_becomes_a_slide_and_a_stub_of_prose_does_not(deck):
    assert [slide.title for slide in deck] == [
        "4. Misaligned",
        "4.1. Two agents",
        "Theorem 4.1",
        "Both stop, <em>soon</em>",
        "4.2. In one line",
        "Summary",
        "Summary",
        "Exercises",
    ]


def test_the_speaker_has_the_reason_the_proof_and_what_follows(deck):
    assert said(deck[2]) == "Who gives in? The reason is this. Proof. Count."
    assert said(deck[3]) == "Look at it. Dots are runs. So it is."
    assert said(deck[7]) == "Exercise 4.1 (In your head) Find it."
    assert "Easy, 10 minutes." in deck[7].body


def test_a_reference_to_a_chapter_is_its_number(deck):
    assert "You need chapter 3." in deck[0].html()


def test_a_formula_has_the_words_that_lead_to_it(deck):
    assert deck[4].body.startswith("<p>Measure first. The rule is</p><div")


def test_a_sentence_does_not_end_within_an_element():
    assert sentences("At <b>1. Or</b> 2. So <i>it is.</i> End") == [
        "At <b>1. Or</b> 2.",
        "So <i>it is.</i>",
        "End",
    ]


def test_a_slide_of_prose_has_whole_sentences_and_few_words():
    long = "One two three. " + "word " * 38 + "end."
    assert brief(paragraph(long)) == "<p>One two three.</p>"
    assert brief(paragraph(long), end=True) == f"<p>{'word ' * 38}end.</p>"
    assert brief(paragraph("It is so. Its axes are")) == "<p>It is so.</p>"
