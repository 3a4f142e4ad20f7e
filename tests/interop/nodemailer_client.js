// Sends with nodemailer the one mail that stdin describes: {port, mail}, where `mail` is what sendMail takes.
// `raw` comes in base64. Prints the server's last answer; ends with 1 when the mail was refused.
'use strict';

const { createTransport } = require('nodemailer');

const { port, mail } = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
if (mail.raw) mail.raw = Buffer.from(mail.raw, 'base64');

createTransport({ host: '127.0.0.1', port, ignoreTLS: true }).sendMail(mail).then(
    (info) => console.log(info.response),
    (error) => {
        console.error(error.message);
        process.exitCode = 1;
    },
);
