'use strict';

const http = require('node:http');
const { answer } = require('./answer');

http.createServer((request, reply) => reply.end(answer(request.url))).listen(8080);
