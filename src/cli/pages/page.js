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
// Links to the sections, which stay in sight; none where there is little to skip.
function contents() {
  const titles = [...page.querySelectorAll("section > h2")];
  if (titles.length < 3) return;
  const list = document.createElement("nav");
  titles.forEach((title, i) => {
    title.parentNode.id = "part-" + i;
    add(list, "a", title.textContent.split(":")[0]).href = "#part-" + i;
  });
  page.insertBefore(list, titles[0].parentNode);
}
const base = path => path.replace(/\/+$/, "").split("/").pop();
