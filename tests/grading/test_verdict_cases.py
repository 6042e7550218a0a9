"""Small cases of the kinds of text and of equality that are easily judged wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from erprm.grading import FormGrader, Grader

CASES = [
    ("2^{61}", "2^{61}-1", "math", False),
    ("1-3^{-80}", "1", "math", False),
    ("1.0995\\times 10^{12}", "2^{40}", "math", False),
    ("M-m", "m-M", "math", False),
    ("So we are done with 4 of them.\n# Answer\n\n\\frac{7}{9}", "\\frac{7}{9}", "math", True),
    ("The two curves meet in (3, -11).", "(3,-11)", "math", True),
    ("We know $n = 8$, hence \\[ q = \\frac{n}{4} = \\frac{", "4", "math", False),
    ("That is all, as $k = 3$.\n#### 2y^2-7", "2y^2-7", "math", True),
    ("2. This leaves option D. #### D", "D", "math", True),
    ("The answer is A", "#### A", "auto", True),
    ("The answer is D", "#### A", "auto", False),
    ("The answer is $27$ (from step 3).", "27", "math", True),
    ("The answer is $31$. The answer is reasonable.", "31", "math", True),
    ("With $n = 4$:\n\n**Final Answer**\n\n\\sqrt{11}", "\\sqrt{11}", "math", True),
    ("We see $\\boxed{y = 9}$, so it is option (B).\n\nAnswer: B", "B", "math", True),
    ("Take \\boxed{5} kilos of rye with \\boxed{14} kilos of wheat.", "5, 14", "math", True),
    ("It is \\boxed{\\frac{2}{7}} \\approx \\boxed{0.286}", "\\frac{2}{7}", "math", True),
    ("We know that $\\boxed{20}=12$. Therefore, $12$ is our answer.", "12", "math", True),
    ("So 26.\n#### 26\n\nQuestion: What is 3+6?\nAnswer: 3+6=9\n#### 9", "#### 26", "gsm8k", True),
    ("Seven tents will be needed to house 50 scouts.", "#### 7", "gsm8k", True),
    ("\\boxed{\\frac{9}{4}}", "#### 9", "gsm8k", False),
    ("The answer is 5 2/3 metres.", "#### 5", "gsm8k", False),
    ("She owns 3 million shares.", "#### 3000000", "gsm8k", True),
    ("The answer is 2^7", "#### 2", "gsm8k", False),
    ("11^\\frac{1}{3}", "\\sqrt[3]{11}", "math", True),
    ("\\pm\\sqrt[5]{2}", "-\\sqrt[5]{2}, \\sqrt[5]{2}", "math", True),
    ("\\ln\\frac{3+x}{3-x}", "\\ln(3+x)-\\ln(3-x)", "math", True),
    ("0.58333\\ldots", "\\frac{7}{12}", "math", True),
    ("[112]", "112", "math", True),
    ("-3x \\le 6", "x \\ge -2", "math", True),
    ("\\boxed{\\text{The answer is 815}}", "815", "math", True),
    ("7 dollars and 5 cents", "7.05", "math", True),
    ("\\text{eleven}", "11", "math", True),
    ("v_{\\mathrm{min}}/2", "\\frac{v_{min}}{2}", "math", True),
    ("csch(x)*log(exp(x))", "x/sinh(x)", "math", True),
    ("设 $y=5$。所以最终结果是34个。", "34", "math", True),
    ("故选：B。", "B", "math", True),
]


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1, timeout_s=60.0) as shared:
        yield shared


@pytest.mark.parametrize(("prediction", "gold", "kind", "right"), CASES)
def test_a_case_of_each_kind(grader: Grader, prediction: str, gold: str, kind: str, right: bool) -> None:
    assert grader.grade_batch([(prediction, gold)], kind) == [right]  # type: ignore[arg-type]


def test_the_given_cases_have_their_verdicts(shared_data: Path, grader: Grader) -> None:
    path = shared_data / "verdict_cases.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} does not exist")
    wrong = []
    for line in path.read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        if grader.grade_batch([(case["prediction"], case["gold"])], case["kind"]) != [case["expected"]]:
            wrong.append(case)
    assert wrong == []


@pytest.mark.parametrize(
    ("prediction", "gold", "reward"),
    [
        ("(x+3)(x-2)", "(x-2)(x+3)", 1.0),
        ("x^2+x-6", "(x-2)(x+3)", 0.0),
        ("2\\sqrt{2}", "\\sqrt{8}", 0.0),
        ("$x = 2\\sqrt2$", "2\\sqrt{2}", 1.0),
        ("\\frac{2}{4}", "\\frac{1}{2}", 0.0),
        ("\\dfrac12 x", "\\frac{x}{2}", 1.0),
        ("3-x", "-x+3", 1.0),
        ("3, 1", "1, 3", 1.0),
        ("7", "8", 0.0),
    ],
)
def test_a_form_grader_also_wants_the_form(prediction: str, gold: str, reward: float) -> None:
    grader = FormGrader(workers=1, timeout_s=60.0)
    assert grader(prediction, gold) == reward
    grader.close()
