'use strict';

const assert = require('node:assert');
const test = require('node:test');
const { answer } = require('../answer');

test('the page', () => assert.strictEqual(answer('/'), 'hello from Node\n'));
test('others', () => assert.strictEqual(answer('/x'), 'no /x\n'));
