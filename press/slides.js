// 1280 x 720, as projectors are; the place is kept in the address. Keys: arrows, o for all, s for what the speaker says.
Reveal.initialize({
    width: 1280, height: 720, margin: 0.06, center: false, hash: true,
    slideNumber: "c/t", transition: "none", plugins: [RevealNotes],
});
