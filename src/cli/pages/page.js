"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");
// Elements; text is always set as text.
function add(parent, tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  if (className) element.className = className;
  parent.append(element);
  return element;
}
function section(title) {
  const element = add(page, "section");
  add(element, "h2", title);
  return element;
}
const base = path => path.replace(/\/+$/, "").split("/").pop();
