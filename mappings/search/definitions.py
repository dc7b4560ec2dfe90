"""The search parameters of R4 4.0.1 by type, one a line: id of its definition, kind, element paths, `>` and what it may refer to.

Source: https://hl7.org/fhir/R4/searchparameter-registry.html. The id stands after http://hl7.org/fhir/SearchParameter/ and ends
in the name of the parameter. Paths go over lists and name the JSON property of one type of a choice (`value[x]` as `valueDateTime`).

Left out on purpose: texts, names, addresses, numbers and mail addresses, which are no search keys here; uri, quantity and composite
parameters; canonicals; `Patient.deceased`, whose expression is no path; what can only lead to a type that this gateway never holds
(Encounter, Device, Location, Specimen, Endpoint, HealthcareService); dates in a Timing, an Age or a Range. A parameter over an
element that no renderer fills stays in: it truthfully finds nothing, while leaving it out would let a lenient search find too much.
"""

DEFINITIONS: dict[str, str] = {
    "CarePlan": """
        CarePlan-activity-code token activity.detail.code
        CarePlan-activity-date date activity.detail.scheduledPeriod
        CarePlan-activity-reference reference activity.reference
        > Appointment CommunicationRequest DeviceRequest MedicationRequest NutritionOrder RequestGroup ServiceRequest Task
        > VisionPrescription
        CarePlan-based-on reference basedOn > CarePlan
        CarePlan-care-team reference careTeam > CareTeam
        CarePlan-category token category
        CarePlan-condition reference addresses > Condition
        clinical-date date period
        CarePlan-goal reference goal > Goal
        clinical-identifier token identifier
        CarePlan-intent token intent
        CarePlan-part-of reference partOf > CarePlan
        clinical-patient reference subject > Patient
        CarePlan-performer reference activity.detail.performer
        > CareTeam Device HealthcareService Organization Patient Practitioner PractitionerRole RelatedPerson
        CarePlan-replaces reference replaces > CarePlan
        CarePlan-status token status
        CarePlan-subject reference subject > Group Patient
    """,
    "Goal": """
        Goal-achievement-status token achievementStatus
        Goal-category token category
        clinical-identifier token identifier
        Goal-lifecycle-status token lifecycleStatus
        clinical-patient reference subject > Patient
        Goal-start-date date startDate
        Goal-subject reference subject > Group Organization Patient
        Goal-target-date date target.dueDate
    """,
    "Task": """
        Task-authored-on date authoredOn
        Task-based-on reference basedOn > any
        Task-business-status token businessStatus
        Task-code token code
        Task-focus reference focus > any
        Task-group-identifier token groupIdentifier
        Task-identifier token identifier
        Task-intent token intent
        Task-modified date lastModified
        Task-owner reference owner
        > CareTeam Device HealthcareService Organization Patient Practitioner PractitionerRole RelatedPerson
        Task-part-of reference partOf > Task
        Task-patient reference for > Patient
        Task-performer token performerType
        Task-period date executionPeriod
        Task-priority token priority
        Task-requester reference requester > Device Organization Patient Practitioner PractitionerRole RelatedPerson
        Task-status token status
        Task-subject reference for > any
    """,
    "Consent": """
        Consent-action token provision.action
        Consent-actor reference provision.actor.reference
        > CareTeam Device Group Organization Patient Practitioner PractitionerRole RelatedPerson
        Consent-category token category
        Consent-consentor reference performer > Organization Patient Practitioner PractitionerRole RelatedPerson
        Consent-data reference provision.data.reference > any
        clinical-date date dateTime
        clinical-identifier token identifier
        Consent-organization reference organization > Organization
        clinical-patient reference patient > Patient
        Consent-period date provision.period
        Consent-purpose token provision.purpose
        Consent-scope token scope
        Consent-security-label token provision.securityLabel
        Consent-source-reference reference sourceReference > Consent Contract DocumentReference QuestionnaireResponse
        Consent-status token status
    """,
    "Patient": """
        Patient-active token active
        individual-birthdate date birthDate
        Patient-death-date date deceasedDateTime
        individual-gender token gender
        Patient-general-practitioner reference generalPractitioner > Organization Practitioner PractitionerRole
        Patient-identifier token identifier
        Patient-language token communication.language
        Patient-link reference link.other > Patient RelatedPerson
        Patient-organization reference managingOrganization > Organization
    """,
    "RelatedPerson": """
        RelatedPerson-active token active
        individual-birthdate date birthDate
        individual-gender token gender
        RelatedPerson-identifier token identifier
        RelatedPerson-patient reference patient > Patient
        RelatedPerson-relationship token relationship
    """,
    "CareTeam": """
        CareTeam-category token category
        clinical-date date period
        clinical-identifier token identifier
        CareTeam-participant reference participant.member
        > CareTeam Organization Patient Practitioner PractitionerRole RelatedPerson
        clinical-patient reference subject > Patient
        CareTeam-status token status
        CareTeam-subject reference subject > Group Patient
    """,
    "Organization": """
        Organization-active token active
        Organization-identifier token identifier
        Organization-partof reference partOf > Organization
        Organization-type token type
    """,
    "Practitioner": """
        Practitioner-active token active
        Practitioner-communication token communication
        individual-gender token gender
        Practitioner-identifier token identifier
    """,
    "PractitionerRole": """
        PractitionerRole-active token active
        PractitionerRole-date date period
        PractitionerRole-identifier token identifier
        PractitionerRole-organization reference organization > Organization
        PractitionerRole-practitioner reference practitioner > Practitioner
        PractitionerRole-role token code
        PractitionerRole-specialty token specialty
    """,
    "Observation": """
        Observation-based-on reference basedOn
        > CarePlan DeviceRequest ImmunizationRecommendation MedicationRequest NutritionOrder ServiceRequest
        Observation-category token category
        clinical-code token code
        Observation-combo-code token code component.code
        Observation-combo-data-absent-reason token dataAbsentReason component.dataAbsentReason
        Observation-combo-value-concept token valueCodeableConcept component.valueCodeableConcept
        Observation-component-code token component.code
        Observation-component-data-absent-reason token component.dataAbsentReason
        Observation-component-value-concept token component.valueCodeableConcept
        Observation-data-absent-reason token dataAbsentReason
        clinical-date date effectiveDateTime effectivePeriod effectiveInstant
        Observation-derived-from reference derivedFrom
        > DocumentReference ImagingStudy Media MolecularSequence Observation QuestionnaireResponse
        Observation-focus reference focus > any
        Observation-has-member reference hasMember > MolecularSequence Observation QuestionnaireResponse
        clinical-identifier token identifier
        Observation-method token method
        clinical-patient reference subject > Patient
        Observation-performer reference performer
        > CareTeam Organization Patient Practitioner PractitionerRole RelatedPerson
        Observation-status token status
        Observation-subject reference subject > Device Group Location Patient
        Observation-value-concept token valueCodeableConcept
        Observation-value-date date valueDateTime valuePeriod
    """,
    "Condition": """
        Condition-abatement-date date abatementDateTime abatementPeriod
        Condition-asserter reference asserter > Patient Practitioner PractitionerRole RelatedPerson
        Condition-body-site token bodySite
        Condition-category token category
        Condition-clinical-status token clinicalStatus
        clinical-code token code
        Condition-evidence token evidence.code
        Condition-evidence-detail reference evidence.detail > any
        clinical-identifier token identifier
        Condition-onset-date date onsetDateTime onsetPeriod
        clinical-patient reference subject > Patient
        Condition-recorded-date date recordedDate
        Condition-severity token severity
        Condition-stage token stage.summary
        Condition-subject reference subject > Group Patient
        Condition-verification-status token verificationStatus
    """,
    "ClinicalImpression": """
        ClinicalImpression-assessor reference assessor > Practitioner PractitionerRole
        clinical-date date date
        ClinicalImpression-finding-code token finding.itemCodeableConcept
        ClinicalImpression-finding-ref reference finding.itemReference > Condition Media Observation
        ClinicalImpression-identifier token identifier
        ClinicalImpression-investigation reference investigation.item
        > DiagnosticReport FamilyMemberHistory ImagingStudy Media Observation QuestionnaireResponse RiskAssessment
        clinical-patient reference subject > Patient
        ClinicalImpression-previous reference previous > ClinicalImpression
        ClinicalImpression-problem reference problem > AllergyIntolerance Condition
        ClinicalImpression-status token status
        ClinicalImpression-subject reference subject > Group Patient
        ClinicalImpression-supporting-info reference supportingInfo > any
    """,
    "ServiceRequest": """
        ServiceRequest-authored date authoredOn
        ServiceRequest-based-on reference basedOn > CarePlan MedicationRequest ServiceRequest
        ServiceRequest-body-site token bodySite
        ServiceRequest-category token category
        clinical-code token code
        clinical-identifier token identifier
        ServiceRequest-intent token intent
        ServiceRequest-occurrence date occurrenceDateTime occurrencePeriod
        clinical-patient reference subject > Patient
        ServiceRequest-performer reference performer
        > CareTeam Device HealthcareService Organization Patient Practitioner PractitionerRole RelatedPerson
        ServiceRequest-performer-type token performerType
        ServiceRequest-priority token priority
        ServiceRequest-replaces reference replaces > ServiceRequest
        ServiceRequest-requester reference requester
        > Device Organization Patient Practitioner PractitionerRole RelatedPerson
        ServiceRequest-requisition token requisition
        ServiceRequest-status token status
        ServiceRequest-subject reference subject > Device Group Location Patient
    """,
    "Group": """
        Group-actual token actual
        Group-characteristic token characteristic.code
        Group-code token code
        Group-exclude token characteristic.exclude
        Group-identifier token identifier
        Group-managing-entity reference managingEntity > Organization Practitioner PractitionerRole RelatedPerson
        Group-member reference member.entity > Device Group Medication Patient Practitioner PractitionerRole Substance
        Group-type token type
        Group-value token characteristic.valueCodeableConcept characteristic.valueBoolean
    """,
    "Provenance": """
        Provenance-agent reference agent.who > Device Organization Patient Practitioner PractitionerRole RelatedPerson
        Provenance-agent-role token agent.role
        Provenance-agent-type token agent.type
        Provenance-entity reference entity.what > any
        Provenance-patient reference target > Patient
        Provenance-recorded date recorded
        Provenance-signature-type token signature.type
        Provenance-target reference target > any
        Provenance-when date occurredDateTime
    """,
    "AuditEvent": """
        AuditEvent-action token action
        AuditEvent-agent reference agent.who > Device Organization Patient Practitioner PractitionerRole RelatedPerson
        AuditEvent-agent-role token agent.role
        AuditEvent-altid token agent.altId
        AuditEvent-date date recorded
        AuditEvent-entity reference entity.what > any
        AuditEvent-entity-role token entity.role
        AuditEvent-entity-type token entity.type
        AuditEvent-outcome token outcome
        AuditEvent-patient reference agent.who entity.what > Patient
        AuditEvent-site token source.site
        AuditEvent-source reference source.observer
        > Device Organization Patient Practitioner PractitionerRole RelatedPerson
        AuditEvent-subtype token subtype
        AuditEvent-type token type
    """,
}
"""Type → its rows."""
