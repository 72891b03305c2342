# Forecasts of weekly series by Prophet, widths and verdicts from how its forecasts of the past turned out.

#' Changepoints of the trend, fewer where the weeks are few.
n_changepoints <- 5L

#' Weeks between a series' first value and the first forecast that an interval is calibrated on.
first_origin <- 4L

#' Forecast origins that a series needs.
min_origins <- 12L

#' Weeks before one that is judged an anomaly or not.
judged_from <- 12L

#' A week this many predictive sds off is withheld from the fits of later weeks, until one next to it is off as well.
withheld_beyond <- 2

#' Rounds in which verdicts and withheld weeks settle; two or three do as a rule.
most_rounds <- 8L

#' Residuals beyond this many scales say nothing of a first scale, nearer ones the more.
ignored_beyond <- 4.5

#' Residuals beyond this many of the first scales are outliers, and no part of the scale.
outlier_beyond <- 3

#' Noise below this share of a series' sd is rounding.
least_noise <- 1e-9

#' Forecast weekly series and judge each past week by its forecast from the weeks before.
#'
#' Prophet (Taylor and Letham, 2018) with a piecewise linear trend and no seasonality. Around its point forecast:
#' - Prophet's maximum a posteriori fit says nothing of the error of the trend itself; the variance of a forecast is the
#'   noise variance times 1 plus the leverage of a straight line at that week.
#' - The scale of the noise comes from the forecasts of past weeks from their past, in units of that shape, by a
#'   root mean square that a few anomalies do not move. A week is judged by the errors of the others' forecasts.
#' - An interval's half width is the split-conformal quantile of those residuals at its horizon (Lei, G'Sell, Rinaldo,
#'   Tibshirani and Wasserman, 2018, section 5.2; by horizon as Stankeviciute, Alaa and van der Schaar, 2021).
#' - A single week that is off is withheld from the fits of later weeks; two in a row on one side are a change of level,
#'   to which the fits from the third on adapt.
#'
#' @param series Name of each row's series.
#' @param week Each row's week: a Monday, "yyyy-mm-dd". A missing week has no row.
#' @param value The week's value.
#' @param se Its standard error, or NULL. A week with a large one may be further off.
#' @param last_week Monday of the last week known; NULL: each series' own last. Later weeks are forecast.
#' @param horizon Weeks forecast.
#' @param level Share of weeks that the intervals are to hold.
#' @param threshold |z| from which a week is an anomaly, 2 or more.
#' @param progress `function(fraction, note)`.
#' @return A list: `series` (a row a series: sizes, `reason` where it has no forecast, `scale`, `coverage` of the
#'   intervals over the origins, each calibrated on the others, `mae`), `calibration` (a row a series and horizon: the
#'   interval's half width in scales, `n`), `forecast` and `history` (a row a series and week) and `engine_versions`.
#' @export
fit_prophet <- function(series, week, value, se = NULL, last_week = NULL, horizon = 4L, level = 0.8,
                        threshold = 2.5, progress = function(fraction, note) NULL) {
  local_utc()
  rows <- order_weeks(series, week, value, se)
  last <- if (is.null(last_week)) NA else count_weeks(last_week, "last_week")
  late <- which(rows$x > last)
  if (length(late) > 0) {
    irtcommon::fail("invalid_field", sprintf("week: %s is after last_week, %s", rows$week[late[1]], last_week))
  }
  names <- unique(rows$series)
  fitted <- lapply(seq_along(names), function(i) {
    progress((i - 1) / length(names), names[i])
    forecast_series(rows[rows$series == names[i], ], last, horizon, level, threshold)
  })
  summaries <- bind(fitted, "series")
  if (!any(is.na(summaries$reason))) {
    irtcommon::fail("not_enough_data", paste(summaries$series, summaries$reason, sep = ": ", collapse = "; "))
  }
  list(
    series = summaries,
    calibration = bind(fitted, "calibration"),
    forecast = bind(fitted, "forecast"),
    history = bind(fitted, "history"),
    engine_versions = list(R = as.character(getRversion()), prophet = as.character(utils::packageVersion("prophet")))
  )
}

#' Prophet reads and writes times in the session's time zone; a week must not become an hour longer in spring.
local_utc <- function(frame = parent.frame()) {
  before <- Sys.getenv("TZ", unset = NA)
  Sys.setenv(TZ = "UTC")
  restore <- if (is.na(before)) quote(Sys.unsetenv("TZ")) else bquote(Sys.setenv(TZ = .(before)))
  do.call(on.exit, list(restore, add = TRUE), envir = frame)
}

#' Rows in the order of series and weeks, `x` counting weeks; no week twice.
order_weeks <- function(series, week, value, se) {
  twice <- which(duplicated(data.frame(series, week)))
  if (length(twice) > 0) {
    first <- twice[1]
    irtcommon::fail("invalid_field", sprintf("week: %s is given twice for series %s", week[first], series[first]))
  }
  rows <- data.frame(
    series = series, week = week, x = count_weeks(week, "week"), value = value, se = if (is.null(se)) NA_real_ else se
  )
  rows[order(match(rows$series, series), rows$x), ]
}

#' Weeks since the Monday of the epoch's second week.
count_weeks <- function(week, field) {
  day <- as.Date(week, format = "%Y-%m-%d")
  wrong <- which(is.na(day) | format(day, "%u") != "1" | format(day) != week)
  if (length(wrong) > 0) {
    irtcommon::fail("invalid_field", sprintf("%s: %s; expected a Monday, yyyy-mm-dd", field, week[wrong[1]]))
  }
  as.numeric(day - epoch_monday) / 7
}

epoch_monday <- as.Date("1970-01-05")

monday_of <- function(x) epoch_monday + 7 * x

bind <- function(parts, name) do.call(rbind, lapply(parts, function(part) part[[name]]))

forecast_series <- function(rows, last, horizon, level, threshold) {
  name <- rows$series[1]
  n_origins <- max(0L, nrow(rows) - first_origin)
  summary <- data.frame(
    series = name, n_weeks = nrow(rows), n_origins = n_origins, n_withheld = NA_integer_, scale = NA_real_,
    coverage = NA_real_, mae = NA_real_, reason = NA_character_
  )
  if (n_origins < min_origins) {
    summary$reason <- sprintf("%d weeks; a forecast needs %d", nrow(rows), first_origin + min_origins)
    return(list(series = summary))
  }
  if (!stats::sd(rows$value) > 1e-9 * max(abs(rows$value), 1)) {
    summary$reason <- sprintf("constant: %g in each of %d weeks", rows$value[1], nrow(rows))
    return(list(series = summary))
  }
  if (min(diff(rows$x)) > horizon) {
    summary$reason <- sprintf("no two weeks lie within %d of each other: nothing to learn widths from", horizon)
    return(list(series = summary))
  }
  newest <- rows$x[nrow(rows)]
  ahead <- if (is.na(last)) seq_len(horizon) else last - newest + seq_len(horizon)
  judged <- judge_weeks(rows, max(ahead), threshold)
  past <- past_forecasts(rows, judged, horizon)
  # Anomalies are no part of the past forecasts; those that normal noise makes are part of what the intervals miss.
  calibration <- calibrate_widths(past, horizon, level / (2 * stats::pnorm(threshold) - 1))
  origin <- judged$forecast_from(nrow(rows))(newest + ahead)
  half <- calibration$quantile[pmin(ahead, horizon)] * origin$shape
  summary$n_withheld <- judged$n_withheld
  summary$scale <- judged$scale
  summary$coverage <- known_mean(calibration$coverage, calibration$n)
  summary$mae <- known_mean(abs(past$error[past$horizon == 1]))
  list(
    series = summary,
    calibration = data.frame(
      series = name, horizon = seq_len(horizon), n = calibration$n, factor = calibration$quantile / judged$scale,
      coverage = calibration$coverage
    ),
    forecast = data.frame(
      series = name, horizon = seq_len(horizon), week = format(monday_of(newest + ahead)),
      forecast = origin$mean, lower = origin$mean - half, upper = origin$mean + half
    ),
    history = judged$history
  )
}

#' Forecast of each week from those before, its z, and which weeks the fits do without.
#'
#' z and withheld weeks depend on each other; from none withheld, a few rounds settle them.
judge_weeks <- function(rows, horizon, threshold) {
  n <- nrow(rows)
  fit <- fitter(rows, horizon)
  least <- least_noise * stats::sd(rows$value)
  side <- rep(0, n)
  noise <- rep(1, n)
  for (round in seq_len(most_rounds)) {
    forecast_from <- function(i) fit(read_from(side, i))
    ahead <- forecast_each(rows, forecast_from, noise)
    scale <- vapply(seq_len(n), function(i) robust_scale(ahead$residual[-i], least), numeric(1))
    z <- ahead$residual / scale
    off <- ifelse(!is.na(z) & abs(z) >= withheld_beyond, sign(z), 0)
    if (round == most_rounds || (round > 1 && identical(off, side))) break
    side <- off
    noise <- relative_noise(rows$se, robust_scale(ahead$residual, least))
  }
  judged <- seq_len(n) > judged_from
  anomalous <- !is.na(z) & abs(z) >= threshold
  only_judged <- function(values) ifelse(judged, values, NA_real_)
  list(
    history = data.frame(
      series = rows$series, week = rows$week, observed = rows$value, expected = only_judged(ahead$expected),
      sd = only_judged(scale * ahead$shape), z = only_judged(z), anomaly = judged & anomalous
    ),
    anomalous = anomalous,
    n_withheld = n - length(read_from(side, n)),
    noise = noise,
    scale = robust_scale(ahead$residual, least),
    forecast_from = forecast_from
  )
}

#' Each week's forecast from those before it; NA up to the first origin.
forecast_each <- function(rows, forecast_from, noise) {
  n <- nrow(rows)
  ahead <- lapply(seq_len(n), function(i) {
    if (i <= first_origin) {
      return(list(mean = NA_real_, shape = NA_real_))
    }
    forecast_from(i - 1)(rows$x[i], noise[i])
  })
  expected <- vapply(ahead, function(one) one$mean, numeric(1))
  shape <- vapply(ahead, function(one) one$shape, numeric(1))
  list(expected = expected, shape = shape, residual = (rows$value - expected) / shape)
}

#' Weeks that a forecast made after the i-th reads. One that is off, `side` 1 or -1, is read only beside another such.
#' What the week after the i-th turns out to be is no part of it, for that week is to be judged by the forecast.
read_from <- function(side, i) {
  side <- side[seq_len(i)]
  paired <- side[-1] == side[-i]
  which(side == 0 | c(paired, FALSE) | c(FALSE, paired))
}

#' Sd of each week's noise relative to the series': what weeks share, and their own standard errors where known.
relative_noise <- function(se, scale) {
  if (anyNA(se)) {
    return(rep(1, length(se)))
  }
  variance <- max(scale^2 - stats::median(se^2), 0) + se^2
  sqrt(variance / mean(variance))
}

#' Prophet fits of a series by the positions of their weeks, each made once.
#'
#' @return `function(use)` returning `function(x, noise)`: mean and shape of the forecast of later weeks `x`.
fitter <- function(rows, horizon) {
  made <- list()
  last <- max(rows$x) + horizon
  function(use) {
    key <- paste(use, collapse = " ")
    if (is.null(made[[key]])) {
      made[[key]] <<- fit_trend(rows$x[use], rows$value[use], last)
    }
    trend <- made[[key]]
    x0 <- rows$x[use]
    function(x, noise = 1) {
      leverage <- 1 / length(x0) + (x - mean(x0))^2 / sum((x0 - mean(x0))^2)
      list(mean = trend[x - max(x0)], shape = sqrt(noise^2 + leverage))
    }
  }
}

#' Prophet's forecasts of every week from the one after `x` to `last`. The values are standardised, for Prophet divides
#' by the largest only: so the forecast moves with the scale of theta, whose origin is a convention.
fit_trend <- function(x, y, last) {
  center <- mean(y)
  spread <- stats::sd(y)
  if (spread == 0) spread <- 1
  model <- withCallingHandlers(
    prophet::prophet(
      data.frame(ds = to_time(x), y = (y - center) / spread),
      n.changepoints = min(n_changepoints, floor(0.8 * length(x)) - 1),
      yearly.seasonality = FALSE, weekly.seasonality = FALSE, daily.seasonality = FALSE,
      uncertainty.samples = 0, seed = 1
    ),
    message = function(said) {
      warning("prophet: ", trimws(conditionMessage(said)), call. = FALSE)
      invokeRestart("muffleMessage")
    }
  )
  center + spread * stats::predict(model, data.frame(ds = to_time((max(x) + 1):last)))$yhat
}

to_time <- function(x) as.POSIXct(format(monday_of(x)), tz = "UTC")

#' Root mean square of the residuals that are no outliers, those within `outlier_beyond` scales, consistent for the
#' normal: the reweighted scale of Rousseeuw and Leroy (1987, section 5.1), until it settles. It starts from the root
#' mean square with Tukey's bisquare weights (Beaton and Tukey, 1974), and this from the median.
robust_scale <- function(residual, least) {
  size <- abs(residual[!is.na(residual)])
  start <- max(stats::median(size) / stats::qnorm(0.75), least)
  smooth <- settle(start, least, ignored_beyond, function(z) pmax(1 - (z / ignored_beyond)^2, 0)^2, size)
  settle(smooth, least, outlier_beyond, function(z) as.numeric(z <= outlier_beyond), size)
}

#' Fixed point of the root mean square of `size` by weights of `size / scale`, which are 0 beyond `end`.
settle <- function(scale, least, end, weight, size) {
  normal_mean <- function(f) stats::integrate(function(z) f(z) * stats::dnorm(z), -end, end)$value
  of_normal <- normal_mean(function(z) weight(abs(z)) * z^2) / normal_mean(function(z) weight(abs(z)))
  for (round in 1:200) {
    after <- max(sqrt(stats::weighted.mean(size^2, weight(size / scale)) / of_normal), least)
    if (abs(after - scale) <= 1e-12 * scale) break
    scale <- after
  }
  scale
}

#' Forecasts of past weeks up to the horizon from every origin: their errors, absolute and in units of their shape.
#' Anomalous weeks are no part: the intervals are those of a week without an anomaly.
past_forecasts <- function(rows, judged, horizon) {
  n <- nrow(rows)
  parts <- lapply(first_origin:(n - 1), function(i) {
    targets <- which(rows$x > rows$x[i] & rows$x <= rows$x[i] + horizon & !judged$anomalous)
    if (length(targets) == 0) {
      return(NULL)
    }
    forecast <- judged$forecast_from(i)(rows$x[targets], judged$noise[targets])
    data.frame(
      horizon = rows$x[targets] - rows$x[i], error = rows$value[targets] - forecast$mean, shape = forecast$shape
    )
  })
  past <- do.call(rbind, parts)
  past$size <- abs(past$error / past$shape)
  past
}

#' Weighted mean of the values known, `NA` where none is.
known_mean <- function(value, weight = rep(1, length(value))) {
  known <- !is.na(value)
  if (any(known)) stats::weighted.mean(value[known], weight[known]) else NA_real_
}

#' Split-conformal half width at each horizon, in units of a forecast's shape, and how often the width that the other
#' origins give at its horizon held a forecast's week. Further ahead is not surer: isotonic over horizons; one without a
#' past forecast, where every second week is missing say, has the width of the next.
calibrate_widths <- function(past, horizon, level) {
  sizes <- lapply(seq_len(horizon), function(h) past$size[past$horizon == h])
  known <- which(lengths(sizes) > 0)
  quantile <- stats::isoreg(vapply(sizes[known], conformal_quantile, numeric(1), level = level))$yf
  held <- lapply(sizes, function(size) {
    vapply(seq_along(size), function(i) size[i] <= conformal_quantile(size[-i], level), logical(1))
  })
  list(
    quantile = stats::approx(known, quantile, seq_len(horizon), method = "constant", rule = 2, f = 1)$y,
    n = lengths(sizes),
    coverage = vapply(held, function(each) if (length(each) > 1) mean(each) else NA_real_, numeric(1))
  )
}

#' Value that a new residual lies below with the probability asked for: rank (n + 1) level, by line between ranks.
conformal_quantile <- function(size, level) stats::quantile(size, level, type = 6, names = FALSE)

prophet_endpoint <- function() {
  row <- function(name, ...) irtcommon::field(name, ..., list = TRUE, group = "rows")
  fields <- list(
    row("series", "string", min_length = 1, doc = "name of the row's series"),
    row("week", "string", doc = "the row's Monday, yyyy-mm-dd; a missing week has no row"),
    row("value", "number", doc = "the week's value"),
    row("se", "number", required = FALSE, min = 0, doc = "its standard error"),
    irtcommon::field("last_week", "string", required = FALSE, doc = "forecasts begin after it; default a series' last"),
    irtcommon::field("horizon", "integer", required = FALSE, min = 1, max = 26, doc = "weeks forecast; default 4"),
    irtcommon::field("level", "number", required = FALSE, min = 0.5, max = 0.95, doc = "of the intervals; default 0.8"),
    irtcommon::field("threshold", "number", required = FALSE, min = 2, max = 10, doc = "|z| of an anomaly; default 2.5")
  )
  irtcommon::endpoint(
    "POST", "/prophet/fit", run_prophet, fields,
    kind = "fit", doc = "Forecast weekly series, with intervals and verdicts calibrated on their past forecasts"
  )
}

run_prophet <- function(input, progress) {
  fit_prophet(
    input$series, input$week, input$value, input$se,
    last_week = input$last_week, horizon = or_default(input$horizon, 4L), level = or_default(input$level, 0.8),
    threshold = or_default(input$threshold, 2.5), progress = progress
  )
}
