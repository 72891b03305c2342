#' Endpoints of r-glmm-plumber.
#'
#' @return A list of `irtcommon::endpoint()`s.
#' @export
endpoints <- function() {
  list(fit_endpoint(), predict_endpoint())
}

#' Serve them until the process is told to stop; PORT, HOST and R_SERVICE_TOKEN come from the environment.
#'
#' @export
serve <- function() {
  irtcommon::serve(irtcommon::service("r-glmm-plumber", endpoints(), package = "irtglmm"))
}

fit_endpoint <- function() {
  irtcommon::endpoint(
    "POST", "/glmm/fit",
    run = function(input, progress) {
      rows <- as.data.frame(input[intersect(c(answer_columns, "item", "offset"), names(Filter(length, input)))])
      fit <- fit_glmm(rows, level = if (is.null(input$level)) 0.95 else input$level, progress = progress)
      if (fit$optimizer$ordering != "AMD") {
        warning("lme4 did not factor by AMD in this process: another may find standard errors 3e-4 apart")
      }
      fit
    },
    fields = c(
      answer_fields(required = TRUE),
      list(irtcommon::field("level", "number",
        required = FALSE, min = 0.5, max = 0.999, doc = "Confidence level of the Wald intervals; 0.95 unless given."
      ))
    ),
    kind = "fit",
    suits = factors_by_amd,
    doc = "Fit correct out of answers ~ week + (week | learner) + (1 | topic) + (1 | item), binomial, logit."
  )
}

predict_endpoint <- function() {
  number <- function(name, doc, ...) irtcommon::field(name, "number", doc = doc, ...)
  column <- function(name, type, group, doc, ...) {
    irtcommon::field(name, type, list = TRUE, group = group, doc = doc, ...)
  }
  irtcommon::endpoint(
    "POST", "/glmm/predict",
    run = function(input, progress) {
      columns <- function(names) as.data.frame(Filter(length, stats::setNames(input[names], sub("^at_", "", names))))
      predict_glmm(
        input[coefficient_names],
        rows = columns(c("at_learner", "at_week", "at_topic", "at_item", "at_offset")),
        answers = columns(c(answer_columns, "item", "offset"))
      )
    },
    fields = c(
      list(
        number("intercept", "Coefficients of a fit: log-odds at week 0 of the mean learner, topic and item."),
        number("slope", "Their growth a week."),
        number("intercept_variance", "Variance of the log-odds at week 0 between learners.", min = 0),
        number("slope_variance", "Variance of growth between learners.", min = 0),
        number("covariance", "Covariance of the two."),
        column("topics", "string", "topics", "Topics of the fit."),
        column("topic_effects", "number", "topics", "Their effects."),
        column("items", "string", "items", "Items of the fit, where they were random.", required = FALSE),
        column("item_effects", "number", "items", "Their effects.", required = FALSE),
        column("at_learner", "string", "rows", "Learners to score."),
        column("at_week", "number", "rows", "Weeks to score them at."),
        column("at_topic", "string", "rows", "Topics to score them in."),
        column("at_item", "string", "rows", "Items to score them on; the mean item unless given.", required = FALSE),
        column("at_offset", "number", "rows", "Known part of the log-odds.", required = FALSE)
      ),
      answer_fields(required = FALSE)
    ),
    kind = "direct",
    doc = "Score learners, also new ones and later weeks, from a fit's coefficients and what they answered so far."
  )
}

answer_fields <- function(required) {
  column <- function(name, type, doc, required, ...) {
    irtcommon::field(name, type, list = TRUE, required = required, group = "answers", doc = doc, ...)
  }
  list(
    column("learner", "string", "Learner of each row.", required),
    column("topic", "string", "Topic.", required),
    column("week", "number", "Week, in weeks; the intercept is that of week 0.", required),
    column("correct", "integer", "Right answers.", required, min = 0),
    column("answers", "integer", "Answers.", required, min = 1),
    column("item", "string", "Item; without it the model has no item effects.", FALSE),
    column("offset", "number", "Known part of the log-odds, such as minus the difficulty.", FALSE)
  )
}
