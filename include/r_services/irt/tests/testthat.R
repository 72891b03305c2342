testthat::test_check("irtmirt")
