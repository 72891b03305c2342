-- Lays the report's blocks out in HTML and Typst alike. HTML is styled by the classes themselves; in Typst a class
-- becomes a call of the function of the same name in page.typ.

local is_typst = FORMAT:match("typst") ~= nil

local calls = pandoc.List({
  "badges", "chart", "chart-title", "chart-note", "table-block", "table-title", "table-note",
  "words-lead", "words-small", "card-label", "card-value", "card-note", "badge-word", "badge-text", "badge-action",
})

local function called(classes)
  return classes:find_if(function(class) return calls:includes(class) end)
end

local function raw(text)
  return pandoc.RawBlock("typst", text)
end

local function wrapped(opening, blocks, closing)
  local out = pandoc.List({ raw(opening) })
  out:extend(blocks)
  out:insert(raw(closing))
  return out
end

-- Grid of cards: one content argument a card.
local function cards(div)
  local out = pandoc.List({ raw("#cards(") })
  for _, card in ipairs(div.content) do
    out:extend(wrapped("[", card.content, "],"))
  end
  out:insert(raw(")"))
  return out
end

-- Column widths in percent, so that both formats and both engines set a table alike; 0 leaves it to the contents.
local function set_widths(div)
  local widths = pandoc.List({})
  for width in div.attributes.widths:gmatch("%d+") do
    widths:insert(tonumber(width) / 100)
  end
  div.attributes.widths = nil
  return div:walk({
    Table = function(el)
      for i, spec in ipairs(el.colspecs) do
        local align = spec[1]
        el.colspecs[i] = widths[i] > 0 and { align, widths[i] } or { align }
      end
      return el
    end,
  })
end

local function count_rows(div)
  local rows = 0
  div:walk({ Table = function(el) rows = rows + #el.bodies[1].body end })
  return rows
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

-- The drawing itself, so that a page is one file; its description goes with it for those who cannot see it.
local function inline_svg(image)
  local label = pandoc.utils.stringify(image.caption):gsub("&", "&amp;"):gsub("<", "&lt;"):gsub('"', "&quot;")
  local svg = read(image.src):gsub("^.-<svg", "<svg", 1):gsub("<metadata>.-</metadata>", "", 1)
  svg = svg:gsub('<svg ([^>]-)width="[^"]*"%s*', "<svg %1", 1):gsub('<svg ([^>]-)height="[^"]*"%s*', "<svg %1", 1)
  return '<svg role="img" aria-label="' .. label .. '" ' .. svg:sub(6)
end

local function image_block(image)
  if is_typst then
    local alt = pandoc.utils.stringify(image.caption):gsub("\\", "\\\\"):gsub('"', '\\"')
    return raw('#image("' .. image.src .. '", width: 100%, alt: "' .. alt .. '")')
  end
  return pandoc.RawBlock("html", inline_svg(image))
end

local function only_image(div)
  local found
  div:walk({ Image = function(image) found = image end })
  return image_block(found)
end

function Div(div)
  if div.classes:includes("table") then
    div = set_widths(div)
    return is_typst and div.content or div
  elseif div.classes:includes("chart-image") then
    return only_image(div)
  elseif not is_typst then
    return nil
  elseif div.classes:includes("cards") then
    return cards(div)
  elseif div.classes:includes("badge") then
    return wrapped('#badge("' .. div.classes[2] .. '")[', div.content, "]")
  end
  local call = called(div.classes)
  if call then
    local rows = call == "table-block" and "(" .. count_rows(div) .. ")" or ""
    return wrapped("#" .. call .. rows .. "[", div.content, "]")
  end
end

function Span(span)
  local call = is_typst and called(span.classes)
  if call then
    local level = call == "badge-word" and '("' .. span.classes[2] .. '")' or ""
    local out = pandoc.List({ pandoc.RawInline("typst", "#" .. call .. level .. "[") })
    out:extend(span.content)
    out:insert(pandoc.RawInline("typst", "]"))
    return out
  end
end

-- The pages that links lead to lie beside the HTML file; a printed or mailed PDF does not know them.
function Link(link)
  return is_typst and link.content or nil
end

-- Typst turns some runs of signs into others (-- into a dash, ... into an ellipsis), which not every pandoc prevents.
function Str(str)
  local text = str.text
  local changes = text:find("%-%-") or text:find("%.%.%.") or text:find("~") or text:find("%-[%?%d]")
  if is_typst and changes then
    return pandoc.RawInline("typst", '#"' .. text:gsub("\\", "\\\\"):gsub('"', '\\"') .. '";')
  end
end
