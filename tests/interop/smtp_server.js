// An SMTP server with TLS and AUTH, made with the npm package smtp-server: it stands where SES stands.
// Its argument is JSON: {key, cert: paths, user, password, options: those of smtp-server}.
// Prints lines of JSON: its port, each try to log in, each message (how its sender logged in, envelope, content in base64).
'use strict';

const { readFileSync } = require('node:fs');
const { SMTPServer } = require('smtp-server');

const { key, cert, user, password, options } = JSON.parse(process.argv[2]);
const say = (fact) => console.log(JSON.stringify(fact));

const server = new SMTPServer({
    ...options,
    key: readFileSync(key),
    cert: readFileSync(cert),
    disableReverseLookup: true,
    onAuth(login, session, done) {
        say({ tried: login.method });
        if (login.username !== user || login.password !== password) return done(new Error('Authentication failed'));
        done(null, { user: login.method });
    },
    onData(stream, session, done) {
        const pieces = [];
        stream.on('data', (piece) => pieces.push(piece));
        stream.on('end', () => {
            const { mailFrom, rcptTo } = session.envelope;
            say({
                login: session.user,
                secure: session.secure,
                sender: mailFrom.address,
                options: mailFrom.args,
                recipients: rcptTo.map((recipient) => recipient.address),
                content: Buffer.concat(pieces).toString('base64'),
            });
            done(null, 'Ok from-smtp-server');
        });
    },
});
server.on('error', (error) => console.error(error.message)); // a client that goes is no reason to end
server.listen(0, '127.0.0.1', () => say({ port: server.server.address().port }));
