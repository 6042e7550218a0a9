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
    ("所以面积是12平方厘米。", "12", "math", True),
    ("So we have $k = 9$ and x = \\frac{5}", "5", "math", False),
    ("So we have $k = 9$ and x = [3, 4", "4", "math", False),
    ("It costs $108 to feed them because 18 * 6 = 108", "#### 108", "gsm8k", True),
    ("She needs 3 trips because each trip holds 12 boxes.", "#### 3", "gsm8k", True),
    ("He bought 5 of the 12 apples.", "#### 5", "gsm8k", True),
    ("\\boxed{(3,4)}", "#### 3", "gsm8k", False),
    ("The answer is between 4 and 5", "#### 5", "gsm8k", False),
    ("the answer is 3:30", "#### 30", "gsm8k", False),
    ("The answer is half a million", "#### 500000", "gsm8k", True),
    ("The answer is two thirds.", "#### 2", "gsm8k", False),
    ("The answer is 12 dollars and 50 cents.", "#### 12", "gsm8k", False),
    ("As we have just seen, the answer is not 7.", "7", "math", False),
    ("So the answer is greater than 7.", "#### 7", "gsm8k", False),
    ("two thirds", "\\frac23", "math", True),
    ("\\boxed{\\text{divisible by } 6}", "6", "math", False),
    ("\\boxed{5 \\text{ squared}}", "5", "math", False),
    ("0.007813", "\\frac{1}{128}", "math", False),
    ("The answer is $7$, not $8$.", "7", "math", True),
    ("The answer is $7$ when $n=4$.", "7", "math", True),
    ("The roots are 2 and 3 there, so it is 2 and 3.", "3", "math", False),
    ("\\boxed{18}\n\n## Problem 3\nFind x. \\boxed{4}", "18", "math", True),
    ("The width is \\boxed{3} m, and the length is \\boxed{7} m.", "3, 7", "math", True),
    ("log(x,2)+alpha", "\\log_2 x+\\alpha", "math", True),
    ("5 euros and 40 cents", "5.40", "math", True),
    ("So the expression equals $11$ when $y=3$.", "11", "math", True),
    ("It is increasing when $y > 3$.", "y > 3", "math", True),
    ("The largest value is $11$, attained at $y = 3$.", "11", "math", True),
    ("Hence the least value is $6$, with equality when $a=b=3$.", "6", "math", True),
    ("Equality holds when $a=3$, so the least value is $6$.", "6", "math", True),
    ("It tends to $\\frac{1}{2}$ as $n \\to \\infty$.", "\\frac{1}{2}", "math", True),
    ("The probability is $\\frac{2}{7}$, or about $0.286$.", "\\frac{2}{7}", "math", True),
    ("Its length is exactly $\\sqrt{3}$ (about $1.73$).", "\\sqrt{3}", "math", True),
    ("There are $9$ possible values of $k$.", "9", "math", True),
    ("$9$ is the value of $k$ that satisfies $2k=18$.", "9", "math", True),
    ("So $k = 9$ (we reject $k = -2$ as negative).", "9", "math", True),
    ("We discard $k=-2$ and get $k=9$.", "9", "math", True),
    ("So the domain is all real numbers except y = 4.", "(-\\infty,4)\\cup(4,\\infty)", "math", True),
    ("Therefore D is correct.", "D", "math", True),
    ("If A is correct, then B is not. Hence option C.", "C", "math", True),
    ("The answer is (B) $14$.", "B", "math", True),
    ("The answer is (B) $14$.", "14", "math", True),
    ("The answer is (B) $14$.", "A", "math", False),
    ("(B) 14", "15", "math", False),
    ("Let $k=9$, so the answer is", "9", "math", False),
    ("There are 10 choose 3 ways.", "3", "math", False),
    ("Thus $M \\equiv 3 \\pmod{11}$, and M \\equiv 5 \\pmod 7.", "5", "math", True),
    ("Hence\n\\begin{align*}\na &= 3+4 \\\\\n&= 7.\n\\end{align*}", "7", "math", True),
    ("Hence\n\\[\\begin{aligned}\na &= 3 \\\\\nb &= 4\n\\end{aligned}\\]", "4", "math", False),
    ("\\boxed{5万}", "5", "math", False),
    ("There are $7$ solutions for $0 \\le t \\le 4$.", "7", "math", True),
    ("So there are $7$ integers between $1$ and $90$ of this kind.", "7", "math", True),
    ("So $k=7$ works, while $k=6$ does not.", "7", "math", True),
    ("The least such $k$ is $k=7$ (for which the sum is $28$).", "7", "math", True),
    ("We have a total of $4 \\cdot 5 = 20$ ways for a total of $20$.", "20", "math", True),
    ("Thus $a=3$ and $b=4$, giving $a+b=7$.", "7", "math", True),
    ("Therefore the line has equation x + y = 10.", "x + y = 10", "math", True),
    ("所以最大值为 $9$，此时 $x=3$。", "9", "math", True),
    ("综上，$m$ 的值为 $3$ 或 $-1$。", "3, -1", "math", True),
    ("It cannot be determined from $k=9$ alone, as we have seen.", "9", "math", False),
    ("Thus there are 20 cups left over after the 3 meals.", "#### 20", "gsm8k", True),
    ("So there are 25 more girls than the 15 boys.", "#### 25", "gsm8k", True),
    ("After 3 days at 4 pages a day, she has 88 pages left.", "#### 88", "gsm8k", True),
    ("Ann is 12 years old, which is 3 times the age of Bob.", "#### 12", "gsm8k", True),
    ("It is 5 less than 20.", "#### 5", "gsm8k", False),
    ("It is 1011 in base 2.", "#### 1011", "gsm8k", False),
    ("=> 20 cups", "#### 20", "gsm8k", True),
    ("The answer is (B) 15.", "#### 15", "gsm8k", True),
    ("She has $6 left from her $30.", "#### 6", "gsm8k", True),
    ("Thus Bo ran a total of 21 miles over the 7 days.", "#### 21", "gsm8k", True),
    ("She will need 9 days at 40 pages a day.", "#### 9", "gsm8k", True),
    ("He will own 320 coins by 2031.", "#### 320", "gsm8k", True),
    ("Ed has 16, which is twice as many as the 8 of Al.", "#### 16", "gsm8k", True),
    ("Each of the 5 boys gets 7 nuts, with 3 left over.", "#### 7", "gsm8k", True),
    ("They need 2.5 vans, which rounds up to 3 vans.", "#### 3", "gsm8k", True),
    ("It takes 120 minutes or 2 hours.", "#### 120", "gsm8k", True),
    ("The answer is: 6 (Ann), 8 (Bea).", "#### 6", "gsm8k", False),
    ("The difference is 12 (30 - 18).", "#### 12", "gsm8k", True),
    ("So she has 7 hundred thousand.", "#### 700000", "gsm8k", True),
    ("She saves 90 - 30 = 60.\n\nLet me verify: 60 + 30 = 90. ✓", "#### 60", "gsm8k", True),
    ("So $k=6$.\n\nTo verify, substitute back: $6+8 = 14$ ✓.", "6", "math", True),
    ("So $8$ of the first $40$ integers have it.", "8", "math", True),
    ("Exactly $8$ of the $40$ outcomes are good.", "8", "math", True),
    ("We find $x=3$ and $x=8$, but $x=8$ is extraneous.", "3", "math", True),
    ("Since $x=8$ is extraneous, $x=3$.", "8", "math", False),
    ("The area is $9\\pi$ square inches.", "9\\pi\\text{ cm}^2", "math", False),
    ("The volume is 9π cm³.", "9\\pi\\text{ cm}^2", "math", False),
    ("The answer is 0.8333...", "\\frac{5}{6}", "math", True),
    ("The answer is 0.1666...", "0.1666", "math", False),
    ("The ratio is 3 to 5.", "3:5", "math", True),
    ("The ratio is 3 to 5.", "5", "math", False),
    ("The probability is 2 in 9.", "\\frac29", "math", True),
    ("$$x = 8$$\n\nProblem 2. Find $y$ if $y+1=3$.\n\nSolution: $y=2$", "8", "math", True),
    ("The answer is B, not C.", "B", "math", True),
    ("So the correct options are B and D.", "B, D", "math", True),
    ("所以 x = 4 或 x = -1。", "4, -1", "math", True),
    ("∴ x = 12", "12", "math", True),
    ("The line has equation y = 3x - 2.", "y = 3x - 2", "math", True),
    ("So it is $\\frac{2}{7}$ and $m+n = 2+7 = 9$.", "9", "math", True),
    ("The answer is $\\underline{8}$.", "8", "math", True),
    ("\\boxed{\\color{blue}{8}}", "8", "math", True),
    ("The day is Friday.", "Friday", "math", True),
    ("There is no real solution.", "\\text{no real solution}", "math", True),
    ("6 pens cost him $42.", "#### 42", "gsm8k", True),
    ("The tax is 5% of $80, which is $4.", "#### 4", "gsm8k", True),
    ("It costs $48 in total for the 6 boys.", "#### 48", "gsm8k", True),
    ("She has saved $70 toward the $110 bike.", "#### 70", "gsm8k", True),
    ("Bo has 31 points, 5 more than the 26 of Al.", "#### 31", "gsm8k", True),
    ("The area is 17 m^2.", "17\\text{ m}^2", "math", True),
    ("We find $x=6$ or $x=-6$; since $x>0$, $x=6$.", "6", "math", True),
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
