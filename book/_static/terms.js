// A definition that shows can be put away with Escape, without moving the pointer or the focus.
addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const term of document.querySelectorAll(".term:hover, .term:focus")) {
        term.classList.add("put-away");
        for (const leaving of ["pointerleave", "blur"]) {
            term.addEventListener(leaving, () => term.classList.remove("put-away"), { once: true });
        }
    }
});
