// Sends with nodemailer the mails that stdin describes: {port, mails, transport}, where `mails` are what sendMail takes
// and `transport` what createTransport takes besides, by default no TLS and no login. `raw` comes in base64.
// All are given to it at once; prints the server's last answer to each, in order; ends with 1 when one was refused.
'use strict';

const { createTransport } = require('nodemailer');

const { port, mails, transport = { ignoreTLS: true } } = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
for (const mail of mails) if (mail.raw) mail.raw = Buffer.from(mail.raw, 'base64');

const transporter = createTransport({ host: '127.0.0.1', port, ...transport });
Promise.all(mails.map((mail) => transporter.sendMail(mail)))
    .then(
        (infos) => infos.forEach((info) => console.log(info.response)),
        (error) => {
            console.error(error.message);
            process.exitCode = 1;
        },
    )
    .finally(() => transporter.close());
