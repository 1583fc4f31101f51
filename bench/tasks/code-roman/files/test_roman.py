from roman import roman

for number, want in [(1, "I"), (3, "III"), (4, "IV"), (9, "IX"), (14, "XIV"), (40, "XL"), (1994, "MCMXCIV")]:
    got = roman(number)
    assert got == want, f"roman({number}) is {got} and should be {want}"
print("tests passed")
