testthat::test_check("irtglmm")
