library(testthat)
library(irtbrms)

test_check("irtbrms")
