#' Endpoints of r-forecast-plumber.
#'
#' @return A list of `irtcommon::endpoint()`s.
#' @export
endpoints <- function() {
  list(
    survival_endpoint()
  )
}

#' Serve them until the process is told to stop; PORT, HOST and R_SERVICE_TOKEN come from the environment.
#'
#' @export
serve <- function() {
  irtcommon::serve(irtcommon::service("forecast", endpoints(), package = "irtforecast"))
}
