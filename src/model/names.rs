//! Names for containers that were given none: an adjective and the surname of somebody from
//! seafaring, science or computing, as Docker's scripts and users expect the shape.

/// About ten thousand names; the caller asks again with other bits if one is taken.
pub fn from_random(bits: u64) -> String {
    let adjective = word(ADJECTIVES, bits >> 32);
    let surname = word(SURNAMES, bits & 0xffff_ffff);
    format!("{adjective}_{surname}")
}

fn word(words: &'static str, bits: u64) -> &'static str {
    let count = words.split(' ').count() as u64;
    let place = usize::try_from(bits % count).unwrap_or_default();
    words.split(' ').nth(place).unwrap_or_default()
}

/// Separated by spaces: one pointer instead of one a word, which every process would have to
/// relocate.
const ADJECTIVES: &str = "\
    agile airy amber ample artful autumnal awake balmy bold brave breezy bright brisk buoyant \
    calm candid cheerful clear clever coastal copper cosy crisp curious dapper daring dauntless \
    deft diligent dreamy eager earnest easy elegant even fair fearless festive fluent fond frank \
    free fresh friendly gallant generous gentle gleaming golden graceful hardy hearty helpful \
    hopeful humble inventive ivory jaunty jolly jovial keen kind lively loyal lucid lucky lunar \
    mellow merry mild modest neat nimble noble patient peaceful playful plucky polite proud \
    quick quiet radiant ready robust rosy seaworthy serene silver skilful sleek snug sober \
    spirited steady stellar sturdy sunny swift tidal tidy trusty upbeat valiant vivid warm \
    watchful windy wise witty zesty";

const SURNAMES: &str = "\
    allen amundsen anning babbage baret bartik beaufort bering berezin bohr boole borg bose \
    bowditch cannon carson cerf chichester clarke cook conway cousteau curie dijkstra earle \
    easley eckert edwards engelbart euler faraday feinler fermat fermi floyd franklin fourier \
    galileo galois gauss germain goldberg goodall granville halley hamilton hamming harrison \
    heyerdahl hoare holberton hopper huygens hypatia iverson johnson joliot kay keller kepler \
    kilburn knox kovalevskaya lamarr lamport laplace lavoisier leavitt leibniz liskov lovelace \
    macarthur magellan maury maxwell mccarthy mcnulty meitner mercator mirzakhani nansen \
    nightingale noether nygaard pascal perlman ptolemy raman ride ritchie rubin sammet \
    shackleton shannon slocum sobel somerville spence strachey sutherland tabarly tabei tesla \
    tharp torvalds turing vaughan villiers volta wilkes wirth worsley wu yonath zuse";
