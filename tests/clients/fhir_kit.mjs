// What an integrator writes with fhir-kit-client, against the gateway that stands in the JSON on standard input; prints what was seen.
// Run by tests/test_client_fhir_kit.py as `node fhir_kit.mjs LIBRARY team|provider`; nothing here knows Planbrug but the README.
import { randomUUID } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { importJWK, SignJWT } from 'jose';

const [library, role] = process.argv.slice(2);
const { Client, default: Exported } = await import(library);
const Kit = Client ?? Exported; // the second major has named exports, the first one is CommonJS
const asked = JSON.parse(await text(process.stdin));

// SMART Backend Services: discovery by the client, an assertion of our key, a form.
async function token(fhir) {
  const { tokenUrl } = await fhir.smartAuthMetadata();
  const { clientId, key, scope } = asked.client;
  const assertion = await new SignJWT({})
    .setProtectedHeader({ alg: 'ES384', typ: 'JWT', kid: key.kid })
    .setIssuer(clientId).setSubject(clientId).setAudience(tokenUrl.href)
    .setJti(randomUUID()).setIssuedAt().setExpirationTime('2m')
    .sign(await importJWK(key, 'ES384'));
  const form = new URLSearchParams({
    grant_type: 'client_credentials',
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: assertion,
    scope,
  });
  const answered = await fetch(tokenUrl, { method: 'POST', body: form });
  return (await answered.json()).access_token;
}

async function connect(baseUrl) {
  const fhir = new Kit({ baseUrl });
  fhir.bearerToken = await token(fhir);
  return fhir;
}

// What a client makes of an error: the status, and the OperationOutcome that stands in it.
async function refused(promise) {
  try {
    return { status: 'no error', outcome: await promise };
  } catch ({ response }) {
    return { status: response.status, outcome: response.data };
  }
}

function seen(answer) {
  const { response } = Kit.httpFor(answer);
  const headers = Object.fromEntries(['location', 'etag', 'content-type'].map((name) => [name, response.headers.get(name)]));
  return { status: response.status, headers, resource: answer };
}

const match = (resource) => ({ 'If-Match': `W/"${resource.meta.versionId}"` });
const patch = (fhir, place, operations, read) => // the majors differ in the name of the operations
  fhir.patch({ ...place, jsonPatch: operations, JSONPatch: operations, options: { headers: match(read) } });
const resources = (bundle) => (bundle.entry ?? []).map((each) => each.resource);
const ofPlan = (plan, more = {}) => ({ '_has:CarePlan:activity-reference:_id': plan, ...more });

async function everyPage(fhir, searchParams) {
  const pages = [];
  let page = await fhir.search({ resourceType: 'Task', searchParams });
  while (page) {
    pages.push({ tasks: resources(page).map((each) => each.id), links: page.link.map((each) => each.url) });
    page = await fhir.nextPage({ bundle: page });
  }
  return pages;
}

async function asTeam() {
  const saw = {};
  const fhir = await connect(asked.base);
  const slashed = await connect(`${asked.base}/`);
  const metadata = await slashed.capabilityStatement();
  saw.metadata = { fhirVersion: metadata.fhirVersion, url: metadata.implementation.url };

  const made = await fhir.transaction({ body: asked.transaction });
  saw.transaction = made.entry.map((each) => each.response.status);
  const places = made.entry.map((each) => each.response.location ?? '');
  const idsOf = (type) => places.filter((each) => each.startsWith(`${type}/`)).map((each) => each.split('/')[1]);
  const [plan] = idsOf('CarePlan');
  saw.ids = { plan, residents: idsOf('Patient'), tasks: idsOf('Task') };

  const read = await slashed.read({ resourceType: 'CarePlan', id: plan });
  saw.goal = (await fhir.resolve({ reference: read.goal[0].reference })).resourceType;
  saw.everything = (await fhir.request(`Patient/${saw.ids.residents[0]}/$everything`)).type;

  saw.pages = await everyPage(slashed, ofPlan(plan, { _count: 3 }));
  const posted = { resourceType: 'Task', searchParams: ofPlan(plan), options: { postSearch: true } };
  saw.posted = resources(await fhir.search(posted)).length;
  const included = await fhir.search({ resourceType: 'Task', searchParams: ofPlan(plan, { _include: 'Task:focus' }) });
  saw.included = Object.fromEntries(included.entry.map((each) => [each.resource.resourceType, each.search.mode]));
  const chain = ofPlan(plan, { 'focus:Goal.lifecycle-status': 'active' });
  saw.chained = resources(await fhir.search({ resourceType: 'Task', searchParams: chain })).length;
  const unknown = await fhir.search({ resourceType: 'Task', searchParams: ofPlan(plan, { colour: 'blue' }) });
  saw.unknown = Object.fromEntries(unknown.entry.map((each) => [each.resource.resourceType, each.search.mode]));

  const [task] = resources(await fhir.search({ resourceType: 'Task', searchParams: ofPlan(plan, { status: 'requested' }) }));
  const place = { resourceType: 'Task', id: task.id };
  const body = { ...task, description: 'Samen bellen.' };
  const updated = await fhir.update({ ...place, body, options: { headers: match(task) } });
  saw.updated = seen(updated);
  saw.stale = await refused(fhir.update({ ...place, body, options: { headers: match(task) } }));
  saw.unmatched = await refused(fhir.update({ ...place, body }));
  const jsonPatch = [{ op: 'replace', path: '/status', value: 'accepted' }];
  saw.patched = seen(await patch(fhir, place, jsonPatch, updated));
  saw.history = resources(await fhir.history(place)).map((each) => each.meta.versionId);
  saw.version = seen(await fhir.vread({ ...place, version: task.meta.versionId }));

  const focus = `Goal/${idsOf('Goal')[2]}`;
  const patient = `Patient/${saw.ids.residents[0]}`;
  const fresh = {
    resourceType: 'Task', status: 'requested', intent: 'plan', description: 'Samen bellen.',
    basedOn: [{ reference: `CarePlan/${plan}` }], focus: { reference: focus },
    for: { reference: patient }, owner: { reference: patient },
  };
  const condition = { 'If-None-Exist': `focus=${focus}&owner=${patient}` };
  const create = (headers) => fhir.create({ resourceType: 'Task', body: fresh, options: { headers } });
  saw.created = seen(await create({ ...condition, 'Content-Type': 'application/json; charset=utf-8' }));
  saw.again = seen(await create(condition));
  const number = { 'If-None-Exist': 'identifier=https://voorbeeld.nl/taken|1' };
  saw.unkept = await refused(create(number));
  const wrong = { ...fresh, status: 'klaar' };
  saw.wrong = await refused(fhir.create({ resourceType: 'Task', body: wrong }));
  saw.validated = await fhir.operation({ name: 'validate', resourceType: 'Task', input: wrong });

  saw.nothing = await refused(fhir.read({ resourceType: 'Task', id: 'nergens' }));
  saw.deleted = await refused(fhir.delete(place));
  saw.xml = await refused(fhir.read({ ...place, options: { headers: { Accept: 'application/fhir+xml' } } }));
  saw.anonymous = await refused(new Kit({ baseUrl: asked.base }).read(place));
  saw.tolerated = seen(await fhir.read({ ...place, options: { headers: { 'Content-Type': 'application/fhir+json' } } })).status;
  return saw;
}

async function asProvider() {
  const saw = {};
  const fhir = await connect(asked.base);
  const [task] = resources(await fhir.search({ resourceType: 'Task', searchParams: ofPlan(asked.plan, { owner: 'Organization/kompas' }) }));
  const place = { resourceType: 'Task', id: task.id };
  saw.before = task.status;
  const replace = (path, value) => patch(fhir, place, [{ op: 'replace', path, value }], task);
  saw.forbidden = await refused(replace('/description', 'Iets anders.'));
  saw.completed = seen(await replace('/status', 'completed'));
  return saw;
}

console.log(JSON.stringify(await (role === 'team' ? asTeam() : asProvider())));
