library(testthat)
library(irtforecast)

test_check("irtforecast")
