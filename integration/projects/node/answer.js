'use strict';

/** What is said to whoever asks for a path. */
exports.answer = (path) => (path === '/' ? 'hello from Node\n' : `no ${path}\n`);
