// A definition that shows can be put away with Escape. It stays so until both the pointer and the focus have left.
addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const term of document.querySelectorAll(".term:hover, .term:focus")) {
        term.classList.add("put-away");
        const left = () => {
            if (!term.matches(":hover, :focus")) term.classList.remove("put-away");
        };
        for (const leaving of ["pointerleave", "blur"]) term.addEventListener(leaving, left);
    }
});
