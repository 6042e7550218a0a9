import pytest

from erprm.grading import Kind, extract_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("He has 16 - 3 = <<16-3=13>>13 eggs.\n#### 13", "13"),
        ("#### -5", "-5"),
        ("#### 0", "0"),
        ("#### 1,450,000", "1450000"),
        ("#### $1,000.50", "1000.50"),
        ("so 10 + 8 = 18.\nA: 18", "18"),
        ("The answer is: 70 ки", "70"),
        ("The answer is 3 apples and not 4.", "3"),
        ("The final answer is \\boxed{12}.", "12"),
        ("<answer>7</answer>", "7"),
        ("#### 10 + 8 = 18", "18"),
        ("#### 41\nNo, once more.\n#### 42", "42"),
        ("We get 3 pears, then 4 more, so 7.", "7"),
        ("5 - 3", "2"),
        ("He owes -12 dollars", "-12"),
        ("#### 1/2", "1/2"),
        ("#### **20**", "20"),
        ("#### Step 2\nWe add 3 and 4.\n#### 7", "7"),
        ("#### Step 2\nWe add 3 and 4, which is 7.", "7"),
        ("<think>#### 3 or #### 4?</think>It is 5.", "5"),
        ("####", None),
        ("no number here", None),
        ("", None),
    ],
)
def test_gsm8k_answer_is_the_marked_or_else_the_last_number(text: str, answer: str | None) -> None:
    assert extract_answer(text, "gsm8k") == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so $x = \\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("\\boxed{3}? No: \\boxed{4}", "4"),
        ("\\boxed{1} and \\boxed{2} and \\boxed{3}", "1, 2, 3"),
        ("\\boxed{\\frac{3}{2}} or \\boxed{1\\frac12}", "1\\frac12"),
        ("\\boxed{7}. Now check it. \\boxed{7}", "7"),
        ("\\fbox{5}", "5"),
        ("$\\boxed 5$", "5"),
        ("it ends in \\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("cut off: \\boxed{42", "42"),
        ("\\boxed{\x0crac12}", "\x0crac12"),
        ("<think>\\boxed{1}</think>final: \\boxed{2}", "2"),
        ("\\boxed{42} and then \\boxed{}", "42"),
        ("first \\boxed{1}. Final Answer: The final answer is $2$. I hope it is correct.", "$2$"),
        ("<answer>\\boxed{9}</answer>", "9"),
        ("thus <answer>x^2</answer> is it", "x^2"),
        ("The answer is: $\\frac{3}{4}$", "$\\frac{3}{4}$"),
        ("**Answer:** (C)", "(C)"),
        ("Final Answer: The number of points is 19. <|im_end|>", "19"),
        ("Therefore $x \\geq 5$ is the solution.", "x \\geq 5"),
        ("The distance is $125$ miles", "125 miles"),
        ("it is $21,16$ or $11$", "21,16, 11"),
        ("increases by 100%.", "100%"),
        ("x = 5", "x = 5"),
        ("\\text{Evelyn}", "\\text{Evelyn}"),
        ("(-\\infty, 2) \\cup (3, \\infty)", "(-\\infty, 2) \\cup (3, \\infty)"),
        ("   ", None),
        ("The answer is 42, which is even.", "42"),
        ("The answer is $x=3$ since $2x=6$.", "$x=3$"),
        ("The answer is $\\frac12$ and not $\\frac13$.", "$\\frac12$"),
        ("The final answer is\n$\n\\frac12\n$.", "$\n\\frac12\n$"),
        ("The correct option is (C) 25.", "(C) 25"),
        ("It is 42 cm.", "42 cm"),
        ("The car drives at 60 miles per hour now.", "60 miles per hour"),
        ("We find 7 ways of doing this.", "7"),
        ("It is the $y$-axis.", "y -axis"),
        ("all real numbers except 3", "all real numbers except 3"),
        ("\\framebox{42}", "42"),
        ("so boxed{42} it is", "42"),
        ("因此答案是 42。", "42"),
        ("答案：$x=2$", "$x=2$"),
        ("The volume equals 30 cm^3.", "30 cm^3"),
        ("The ratio is 3:4", "3:4"),
        ("So there are 2^10 of them.", "2^10"),
        ("<answer>The answer is 6</answer>", "6"),
        ("A: -3", "-3"),
        ("<answer>0</answer>", "0"),
    ],
)
def test_math_answer_is_the_marked_or_else_the_last_mathematics(text: str, answer: str | None) -> None:
    assert extract_answer(text, "math") == answer


def test_auto_reads_a_hash_line_as_gsm8k_and_the_rest_as_math() -> None:
    assert extract_answer("#### 1,000", "auto") == "1000"
    assert extract_answer("\\boxed{1,000}", "auto") == "1,000"


def test_unknown_kind_names_what_is_accepted() -> None:
    unknown: Kind = "aime"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="kind: got 'aime', expected one of 'auto', 'gsm8k', 'math'"):
        extract_answer("5", unknown)
