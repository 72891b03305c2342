source("../../../common/tests/support/server.R", local = TRUE)
