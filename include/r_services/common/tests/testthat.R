testthat::test_check("irtcommon")
