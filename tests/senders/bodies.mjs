/*
 * What a platform may send, as bytes: none speaks of anything that settle knows, so that each is one receipt. All but
 * the empty one are unlike any other.
 */

const LETTERS = {
    ascii: [...Array(95).keys()].map((i) => String.fromCharCode(32 + i)),
    unicode: [
        ...['é', 'ß', 'Ω', 'Ж', '中', '한', 'e\u0301', 'a\u030a\u0323', '\u0e01\u0e33', '\u2028', '\ufffd'],
        ...['ا', 'ش', 'ע', '\u200f', '\u202e'], /* from right to left */
        ...['😀', '👩\u200d👩\u200d👧', '🏳\ufe0f\u200d🌈', '🇺🇳', '𝔘', '\u{10ffff}'],
        ...['\u0000', '\n', '\\', '"', '/', '@', '<', ' '],
    ],
};

export const kinds = {
    ascii: (random) => json(random, text(random, 'ascii')),
    unicode: (random) => json(random, text(random, 'unicode')),
    /* As Meta writes it: another rendering of the same text, which must not be taken for the bytes. */
    escaped: (random) =>
        Buffer.from(
            json(random, text(random, 'unicode'))
                .toString()
                .replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
                .replace(/\//g, '\\/'),
        ),
    plain: (random) => Buffer.from(`\r\n ${random.word()}\t${text(random, 'unicode')}\r\n\0`),
    empty: () => Buffer.alloc(0),
    full: (random, max) => filled(random, max),
    over: (random, max) => filled(random, max + 1),
    binary: (random) => Buffer.concat([Buffer.from('\xff\0\r\n\xc3', 'latin1'), random.bytes(16 + random.below(2000))]),
};

function json(random, value) {
    const nested = [{ n: random.below(1e9), ok: true, none: null }];

    return Buffer.from(JSON.stringify({ nonce: random.word(), text: value, nested }));
}

export function text(random, letters) {
    return Array.from({ length: 1 + random.below(200) }, () => random.pick(LETTERS[letters])).join('');
}

/* JSON of exactly so many bytes, the last character before the end being one of two. */
function filled(random, bytes) {
    const begin = `{"nonce":"${random.word()}","text":"`;
    const end = 'é"}';
    const room = bytes - Buffer.byteLength(begin) - Buffer.byteLength(end);

    return Buffer.from(begin + random.bytes(room).toString('latin1').replace(/[^ !#-[\]-~]/g, '.') + end);
}
